// needs: core
/* The composition explorer: composed posteriors on the exact ones. */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const WINDOW = 10;  // exact sds shown on either side of the exact mean
  const FARTHER = [30, 100, 300, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6];  // where blue is not there
  const XS = Array.from({ length: 201 }, (_, i) => WINDOW * (i / 100 - 1));
  const DIVERGED = 1e5;  // exact sds off

  const count = (n) => n.toLocaleString("en-US");
  const size = (s) => Math.min(s.group_size, s.n_subjects);
  const groups = (s) => Math.floor(s.n_subjects / size(s));
  const batch = (s) => Math.min(s.mini_batch_size, groups(s));

  /** The cell of the grid for the sliders' position, or null. */
  const lookUp = (data, settings) => {
    if (!data.packed) return null;
    let flat = 0;
    for (const [name, stops] of Object.entries(data.stops)) {
      flat = flat * stops.length + stops.indexOf(settings[name]);
    }
    const width = data.n_points + 2;
    const start = data.lookup[flat] * data.names.length * width;
    const cell = { points: [], bias: [], ratio: [] };
    for (let k = 0; k < data.names.length; k++) {
      const row = [...data.packed.subarray(start + k * width, start + (k + 1) * width)]
        .map((v) => v / data.scale);
      cell.points.push(row.slice(0, -2).map(Math.sinh));
      cell.bias.push(Math.sinh(row[width - 2]));
      cell.ratio.push(Math.exp(row[width - 1]));
    }
    return cell;
  };

  const figure = (x) => eam.number(x, Math.abs(x) < 9.95 ? 1 : 0);
  const times = (x) => (x < 9.95 ? eam.number(x, 2) : count(Math.round(x)));

  /** Exact sds on either side that hold the composed posterior, and no fewer than there are room for. */
  const reachOf = (points) => {
    const share = (reach) => points.filter((z) => Math.abs(z) < reach).length / points.length;
    return share(WINDOW) >= 0.75 ? WINDOW : FARTHER.find((reach) => share(0.9 * reach) > 0.95);
  };

  /** The worst of what the panels show, in words. */
  const verdict = ({ data, cell }) => {
    const worst = (values) => values.indexOf(Math.max(...values));
    const far = worst(cell.bias.map(Math.abs));
    const odd = worst(cell.ratio.map((ratio) => Math.abs(Math.log(ratio))));
    const [off, ratio] = [Math.abs(cell.bias[far]), cell.ratio[odd]];
    if (off > DIVERGED) return " The sampler diverged.";
    const found = [];
    if (ratio > 1.25) found.push(`${times(ratio)} times too wide (${data.words[odd]})`);
    if (ratio < 0.8) found.push(`${times(1 / ratio)} times too narrow (${data.words[odd]})`);
    if (off > 0.5) found.push(`${figure(off)} exact sds off (${data.words[far]})`);
    return found.length ? ` At worst ${found.join(" and ")}.` : " Blue lies on gray.";
  };

  /** One panel: exact in gray, prior dashed, composed in color, truth as a tick. */
  const panel = (k, box, shown) => {
    const { data, exact, truth, cell } = shown;
    const [left, top, width, height] = box;
    const base = top + height - 22;
    const [mean, sd] = [exact.mean[k], exact.sd[k]];
    const reach = cell ? reachOf(cell.points[k]) : WINDOW;
    const zoom = reach / WINDOW;
    const x = eam.scale(mean - reach * sd, mean + reach * sd, left + 4, left + width - 4);
    const at = (z) => x(mean + z * sd);
    const prior = data.prior;
    const grey = eam.density(exact.points[k], XS);
    const blue = cell ? eam.density(cell.points[k].map((z) => z / zoom), XS) : [];
    const dashed = XS.map((z) => {
      const u = (mean + zoom * z * sd - prior.mean[k]) / prior.sd[k];
      return (sd / prior.sd[k]) * Math.exp(-0.5 * u * u) / Math.sqrt(2 * Math.PI);
    });
    const peak = Math.max(...grey);
    const common = Math.max(peak, Math.min(Math.max(0, ...blue), 2.5 * peak));
    // Zoomed out, gray is a needle and blue would be flat: each gets its own height.
    const curve = (values, stretch = zoom) => {
      const y = eam.scale(0, zoom > 1 ? 1.3 * Math.max(...values) : 1.1 * common, base, top + 40);
      return eam.path(values.map((v, i) => [at(stretch * XS[i]), Math.max(y(v), top + 38)]));
    };
    const words = cell ? `off ${figure(cell.bias[k])} sd, width ×${times(cell.ratio[k])}` : "…";
    const parts = [
      eam.svg("text", { class: "eam-title", x: left + 6, y: top + 14 }, eam.symbol(data.symbols[k])),
      eam.svg("text", { class: "eam-small", x: left + 6, y: top + 32 }, words),
      eam.svg("text", { class: "eam-small", x: left + width - 8, y: top + 14, "text-anchor": "end" },
        data.words[k]),
      eam.svg("path", { class: "eam-exact", d: `${curve(grey, 1)}L${at(WINDOW)} ${base}L${at(-WINDOW)} ${base}Z` }),
      eam.svg("path", { class: "eam-prior", d: curve(dashed) }),
      eam.svg("path", { class: "eam-composed", d: cell ? curve(blue) : "" }),
      eam.svg("path", { class: "eam-truth", d: `M${x(truth[k]).toFixed(1)} ${base}v-12` }),
      eam.axis(x, base, 3),
    ];
    if (zoom > 1) {
      parts.push(eam.svg("text", { class: "eam-far", x: left + width - 8, y: top + 48,
        "text-anchor": "end" }, `axis ± ${count(reach)} sd`));
    }
    return parts;
  };

  const legend = ([left, top, width], shown) => {
    const row = (i, cls, text) => [
      eam.svg("path", { class: cls, d: `M${left + 8} ${top + 20 + 22 * i}h26`,
        ...(cls === "eam-exact" ? { "stroke-width": 9, "stroke-opacity": 0.55 } : {}) }),
      eam.svg("text", { x: left + 42, y: top + 24 + 22 * i }, text),
    ];
    return [
      row(0, "eam-composed", shown.cell ? "composed" : "composed: not there"),
      row(1, "eam-exact", "exact"), row(2, "eam-prior", "prior"), row(3, "eam-truth", "truth"),
      eam.svg("text", { class: "eam-small", x: left + 8, y: top + 112 },
        `axes: exact mean ± ${WINDOW} sd`),
    ];
  };

  const setting = (s) => {
    const n = groups(s);
    const terms = (s.study ? `New study ${s.study}: ` : "") + `${count(s.n_subjects)} subjects, ` +
      (n === 1 ? "all in one group" : `${count(n)} groups of ${size(s)}`);
    if (n === 1) return `${terms}: nothing to compose.`;
    if (s.method === "gaussian") return `${terms}, Gaussians multiplied.`;
    return `${terms}, scores added: mini-batch ${batch(s)}, d0 = ${s.d0}, d1 = ${s.d1}, ` +
      `${s.steps} steps.`;
  };

  const describe = (shown) => {
    const { data, cell, settings } = shown;
    const start = `${shown.life}. ${setting(settings)}`;
    if (!cell) return `${start} Exact posterior only.`;
    return `${start} ` + data.names.map((name, k) =>
      `${name}: ${figure(cell.bias[k])} exact sds off, width ${times(cell.ratio[k])} times exact`,
    ).join("; ") + ".";
  };

  const draw = (node, width, shown) => {
    const columns = width >= 620 ? 4 : 2;
    const [w, h] = [width / columns, columns === 4 ? 150 : 124];
    const n = shown.data.names.length;
    const height = h * Math.ceil((n + 1) / columns);
    const box = (i) => [w * (i % columns), h * Math.floor(i / columns), w, h];
    node.replaceChildren(eam.svg("svg", {
      viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": describe(shown),
    }, shown.data.names.map((_, k) => panel(k, box(k), shown)), legend(box(n), shown)));
  };

  eam.widgets.composition = (el, page, model) => {
    const data = { ...page.data };
    if (data.packed) {
      data.lookup = eam.decode(data.lookup);
      data.packed = eam.decode(data.packed);
    }
    const settings = { study: 0, ...page.settings };
    const { say, ...ui } = eam.frame(el, "Composition explorer");
    const shown = { data, settings };
    let width = 0;

    const show = (life, cell, exact, truth, extra = "") => {
      Object.assign(shown, { life, cell, exact, truth });
      const zoomed = cell?.points.some((points) => reachOf(points) > WINDOW);
      ui.caption.replaceChildren(eam.tag(life), ` ${setting(settings)}`, cell ? verdict(shown) : "",
        zoomed ? " Orange: zoomed out to where blue is, each curve as tall as fits." : "", extra);
      ui.picture.classList.remove("eam-former");
      if (width) draw(ui.picture, width, shown);
    };
    const showGrid = () => {
      if (settings.study !== 0) {
        ui.caption.replaceChildren(eam.tag("former"), ` ${setting(settings)} Not there yet.`);
        ui.picture.classList.add("eam-former");
        return;
      }
      show("precomputed", lookUp(data, settings), data.exact[settings.n_subjects], data.truth,
        data.packed ? "" : " No answers were computed ahead for these weights.");
    };
    const keyOf = () => JSON.stringify(settings);
    const connection = page.live && eam.connect(model, {
      say,
      answer: (content) => {
        show("live", content.cell, content.exact, content.truth,
          ` ${count(content.num_samples)} new draws in ${Math.round(content.ms)} ms.`);
      },
      refused: () => { settings.study = 0; back.disabled = true; showGrid(); },
    });
    const update = () => {
      const alone = groups(settings) === 1;
      const off = settings.method === "gaussian" || alone;
      for (const name of ["mini_batch_size", "d0", "d1"]) sliders[name].disable(off);
      sliders.steps.disable(settings.method === "gaussian");
      for (const [name, there] of [["group_size", settings.n_subjects],
        ["mini_batch_size", groups(settings)]]) {
        sliders[name].limit(there);
        sliders[name].set(settings[name]);
      }
      showGrid();
      if (connection) connection.ask(keyOf(), { ...settings });
    };

    const capped = (real) => (v) => (v > real() ? `${real()} (all)` : count(v));
    const formats = {
      n_subjects: count,
      group_size: capped(() => settings.n_subjects),
      mini_batch_size: capped(() => groups(settings)),
    };
    const words = {
      n_subjects: ["Subjects J", "how many people"],
      group_size: ["Group size", "people the network sees at once"],
      mini_batch_size: ["Mini-batch", "groups per estimate of the score"],
      d0: ["Bridge d0", "data end: below 1 it tempers the target"],
      d1: ["Bridge d1", "noise end: below 1 it damps the start"],
      steps: ["Steps", "of Euler–Maruyama"],
    };
    const sliders = {};
    const method = eam.choice({
      label: "Combine groups by", name: "method", value: settings.method,
      options: { sum: "adding scores", gaussian: "multiplying Gaussians" },
    }, (value) => { settings.method = value; update(); });
    for (const [name, [label, note]] of Object.entries(words)) {
      const descending = name === "d0" || name === "d1";
      const stops = descending ? [...data.stops[name]].reverse() : data.stops[name];
      sliders[name] = eam.slider({ label, note, name, stops, value: settings[name],
        format: formats[name] },
      (value) => { settings[name] = value; update(); });
    }
    const nodes = [method.node, ...Object.values(sliders).map((s) => s.node)];
    const go = (study) => { settings.study = study; back.disabled = study === 0; update(); };
    const back = eam.button("Back to the first study", () => { go(0); });
    back.disabled = true;
    if (page.live) {
      const fresh = eam.button("New study", () => { go(settings.study + 1); });
      nodes.push(eam.html("div", { class: "eam-buttons" }, fresh, " ", back));
    }
    ui.controls.append(...nodes);
    update();
    const unfit = eam.fit(ui.picture, (w) => { width = w; draw(ui.picture, w, shown); });
    return () => { unfit(); connection?.stop?.(); };
  };
})();
