"""The console: pages for people, written in the supervisor from what the admin API says."""
