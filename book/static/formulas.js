/* Typesets the formulas that Sphinx wrote as \( ... \) and \[ ... \], with KaTeX. */
(() => {
  "use strict";
  /** No line ends with the bracket before a formula, or begins with the comma after it. */
  const keepMarks = (box) => {
    const { previousSibling: before, nextSibling: after } = box;
    const [opening] = before?.data?.match(/[([\u2018\u201c]+$/) ?? [""];
    const [closing] = after?.data?.match(/^[,.;:?!)\]\u2019\u201d\u2026]+/) ?? [""];
    if (!opening && !closing) return;
    if (opening) before.data = before.data.slice(0, -opening.length);
    if (closing) after.data = after.data.slice(closing.length);
    const [whole, breaking] = [document.createElement("span"), document.createElement("span")];
    whole.className = "math-marked";
    box.replaceWith(whole);
    whole.append(opening, box, closing);
    // A line may still end after any part of the formula but the last.
    const typeset = box.querySelector(".katex-html");
    breaking.append(...[...typeset.children].slice(0, -1));
    typeset.prepend(breaking);
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
