/* What the playgrounds share: a picture that follows its controls.
 *
 * It is computed here at once and refined frame by frame; where Python answers, its picture of the
 * same settings takes the place of the browser's.
 */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const TAGS = { static: "computed in your browser", live: "live" };

  /** Standard normal numbers from uniform ones, two from every pair (Marsaglia's polar method). */
  eam.normals = (uniform) => {
    let spare = 0;
    let full = false;
    return () => {
      if (full) { full = false; return spare; }
      let x, y, s;
      do {
        x = 2 * uniform() - 1;
        y = 2 * uniform() - 1;
        s = x * x + y * y;
      } while (s >= 1 || s === 0);
      const factor = Math.sqrt((-2 * Math.log(s)) / s);
      spare = y * factor;
      full = true;
      return x * factor;
    };
  };

  eam.count = (n) => n.toLocaleString("en-US");
  eam.percent = (share) => `${eam.number(100 * share, 1)} %`;

  /** Filled bars of a histogram, as the `d` of one path; `base` is where they stand. */
  eam.bars = (heights, first, step, x, y, base) => heights.map((height, i) => {
    const left = Math.max(x(first + i * step), x.range[0]);
    const right = Math.min(x(first + (i + 1) * step), x.range[1]);
    if (!height || right <= left) return "";
    return `M${left.toFixed(1)} ${base}V${y(height).toFixed(1)}H${right.toFixed(1)}V${base}Z`;
  }).join("");

  /**
   * Run a playground until the function it returns is called.
   *
   * `controls({slider, change, settings})` returns nodes. `begin(settings)` returns a run: its
   * `more()` adds to `run.result` and says whether there is more to come; `run.question` is what
   * Python needs to know beside the settings. `picture(result, settings, width)` returns the `svg`
   * and the `words` of the caption. `live` says what Python adds.
   */
  eam.playground = (el, page, model, { title, controls, begin, picture, live }) => {
    const frame = eam.frame(el, title);
    const settings = { ...page.settings };
    let width = 0;
    let run, result, life, next;

    const draw = () => {
      if (!width) return;
      const { svg, words } = picture(result, settings, width);
      const tag = eam.tag(life, TAGS[life]);
      frame.picture.replaceChildren(svg);
      frame.caption.replaceChildren(tag, life === "live" ? `${live} ` : "", words);
    };
    const show = (what, how) => { result = what; life = how; draw(); };
    const refine = () => {
      const more = run.more();
      show(run.result, "static");
      if (more) next = requestAnimationFrame(refine);
    };
    const { say } = frame;
    const link = page.live && eam.connect(model, {
      say,
      answer: (content) => { cancelAnimationFrame(next); show(content, "live"); },
    });
    const restart = () => {
      page.keep?.(settings);
      cancelAnimationFrame(next);
      say("");
      run = begin(settings);
      refine();
      if (link) link.ask(JSON.stringify(settings), { ...settings, ...run.question });
    };
    const change = (news) => { Object.assign(settings, news); restart(); };
    const slider = (name, options) => eam.slider(
      { name, stops: page.data.stops[name], value: settings[name], ...options },
      (value) => change({ [name]: value }));

    frame.controls.append(...controls({ slider, change, settings }));
    restart();
    const unfit = eam.fit(frame.picture, (w) => { width = w; draw(); });
    return () => { cancelAnimationFrame(next); unfit(); if (link) link.stop(); };
  };
})();
