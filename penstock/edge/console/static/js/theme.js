// Light or dark, before anything is drawn: what was chosen here, else what the system wants.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => { try { return localStorage.getItem("penstock.theme"); } catch { return null; } };
  const take = () => {
    const word = chosen();
    root.dataset.theme = word === "dark" || word === "light" ? word : system.matches ? "dark" : "light";
    document.dispatchEvent(new Event("penstock:theme"));
  };
  take();
  system.addEventListener("change", take);
  addEventListener("storage", (event) => { if (event.key === "penstock.theme") take(); });
  document.addEventListener("penstock:toggle-theme", () => {
    const word = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("penstock.theme", word); } catch { /* It holds for this page then. */ }
    root.dataset.theme = word;
    document.dispatchEvent(new Event("penstock:theme"));
  });
})();
