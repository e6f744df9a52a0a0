/* Typesets the formulas that Sphinx wrote as \( ... \) and \[ ... \], with KaTeX. */
(() => {
  "use strict";
  const JOINER = "\u2060";

  /** No line begins with the comma after a formula, or ends with the bracket before it. */
  const keepMarks = ({ previousSibling: before, nextSibling: after }) => {
    if (/[([\u2018\u201c]$/.test(before?.data)) before.data += JOINER;
    if (/^[,.;:?!)\]\u2019\u201d\u2026]/.test(after?.data)) after.data = JOINER + after.data;
  };

  for (const box of document.querySelectorAll(".math")) {
    // The number of a formula stands before its source, which is text.
    const source = [...box.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE)
      .find((node) => node.data.trim());
    const found = source?.data.trim().match(/^\\([[(])([^]*)\\[\])]$/);
    if (!found) continue;
    const place = document.createElement("span");
    // A long formula breaks after relations, but not after the bar of a condition.
    const formula = found[2].replaceAll("\\mid", "{\\;|\\;}");
    globalThis.katex.render(formula, place, { displayMode: found[1] === "[", throwOnError: false });
    source.replaceWith(...place.childNodes);
    if (found[1] === "(") keepMarks(box);
  }
})();
