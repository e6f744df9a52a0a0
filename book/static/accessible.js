/* What the theme's pages lack for readers without a mouse, or with a screen reader. */
(() => {
  "use strict";
  const MODES = { light: "Light", dark: "Dark", auto: "System Settings" };

  /** Controls whose name hides the words that can be seen on them are named by those words. */
  const name = () => {
    const hidden = '.search-button-field[aria-label], summary[aria-label="Toggle hidden content"]';
    for (const control of document.querySelectorAll(hidden)) control.removeAttribute("aria-label");
  };

  /** The button for light and dark says which of them is on. */
  const tellMode = () => {
    const mode = MODES[document.documentElement.dataset.mode] ?? MODES.auto;
    for (const button of document.querySelectorAll(".theme-switch-button")) {
      button.setAttribute("aria-label", `Color mode: ${mode}`);
    }
  };

  /** Formulas that scroll sideways can be reached with the keyboard, as the theme does for code. */
  const reachFormulas = () => {
    for (const box of document.querySelectorAll('mjx-container[display="true"]')) {
      const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
      if (scrolls) box.tabIndex = 0; else box.removeAttribute("tabindex");
    }
  };

  /** The theme looks on resizing for what scrolls; folded parts have no size before. */
  const unfolded = () => window.dispatchEvent(new Event("resize"));

  /** The entries of a bibliography are no list items, so that their frame must not say "list". */
  const freeCitations = () => {
    for (const frame of document.querySelectorAll(".citation-list[role=list]")) {
      frame.removeAttribute("role");
    }
  };

  const start = () => {
    name();
    freeCitations();
    tellMode();
    window.MathJax?.startup?.promise?.then(reachFormulas);
    window.addEventListener("resize", reachFormulas);
    new MutationObserver(tellMode)
      .observe(document.documentElement, { attributeFilter: ["data-mode"] });
    document.addEventListener("toggle", unfolded, true);
    document.addEventListener("click", (event) => {
      if (event.target.closest?.(".toggle-button, .admonition-title")) unfolded();
    });
  };
  window.addEventListener("load", start);
})();
