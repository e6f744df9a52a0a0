/* Starts the widgets of a rendered page, once all of them are defined. */
"use strict";
if (document.readyState === "loading") {
  document.addEventListener("DOMContentLoaded", () => globalThis.eamlab.mountAll());
} else {
  globalThis.eamlab.mountAll();
}
