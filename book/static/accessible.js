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

  /** What scrolls sideways can be reached with the keyboard, and fades where there is more. */
  const SCROLLS = ".katex-display, span.math, div.highlight pre, .cell_output .output, " +
    ".cell_output pre, .pst-scrollable-table-container";
  const tellMore = (box) => {
    const more = box.scrollWidth - box.clientWidth;
    const scrolls = box.clientWidth > 0 && more > 1;
    box.classList.toggle("more-before", scrolls && box.scrollLeft > 1);
    box.classList.toggle("more-after", scrolls && box.scrollLeft < more - 1);
    if (scrolls) box.tabIndex = 0; else box.removeAttribute("tabindex");
  };
  const tellScrolling = () => {
    for (const formula of document.querySelectorAll("span.math")) {
      // A formula in a line breaks; a part that is too long for a line makes a box that scrolls.
      let around = formula.parentElement;
      while (around && !around.clientWidth) around = around.parentElement;
      const parts = [...formula.querySelectorAll(".katex-base")];
      formula.classList.toggle("unbroken",
        parts.some((part) => part.offsetWidth > (around?.clientWidth ?? Infinity)));
    }
    for (const box of document.querySelectorAll(SCROLLS)) tellMore(box);
  };

  /** A figure is a link to itself alone, where a phone can enlarge it. */
  const linkFigures = () => {
    for (const figure of document.querySelectorAll(".cell_output img")) {
      if (figure.closest(".eam-fallback, a")) continue;
      const link = document.createElement("a");
      Object.assign(link, { className: "figure-alone", href: figure.src, title: "Open the figure" });
      figure.replaceWith(link);
      link.append(figure);
    }
  };

  /** Paper is white, whatever the screen is. */
  const { dataset } = document.documentElement;
  let onScreen = null;
  const toPaper = () => { onScreen = dataset.theme; dataset.theme = "light"; };
  const toScreen = () => { dataset.theme = onScreen; };

  /** Search quotes what a page says, not its table of contents; formulas without their commands. */
  const quoteText = () => {
    if (typeof Search === "undefined") return;
    const { htmlToText } = Search;
    Search.htmlToText = (text, anchor) => {
      const page = new DOMParser().parseFromString(text, "text/html");
      for (const part of page.querySelectorAll("#jb-print-docs-body, .bd-sidebar-secondary, pre")) {
        part.remove();
      }
      for (const formula of page.querySelectorAll(".math")) {
        formula.textContent = formula.textContent.replace(/\\[A-Za-z]*rm|\\[^A-Za-z]|[\\{}]/g, "");
      }
      return htmlToText(page.documentElement.outerHTML, anchor).replace(/\s+/g, " ");
    };
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
    linkFigures();
    tellScrolling();
    window.addEventListener("resize", tellScrolling);
    document.addEventListener("scroll", ({ target }) => {
      if (target.matches?.(SCROLLS)) tellMore(target);
    }, { capture: true, passive: true });
    new MutationObserver(tellMode)
      .observe(document.documentElement, { attributeFilter: ["data-mode"] });
    document.addEventListener("toggle", unfolded, true);
    document.addEventListener("click", (event) => {
      if (event.target.closest?.(".toggle-button, .admonition-title")) unfolded();
    });
  };
  window.addEventListener("beforeprint", toPaper);
  window.addEventListener("afterprint", toScreen);
  document.addEventListener("DOMContentLoaded", quoteText);
  window.addEventListener("load", start);
})();
