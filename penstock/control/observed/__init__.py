"""What is seen of the gateway, as the admin API tells it: the request log, the series and the alerts."""
