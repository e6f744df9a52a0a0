// needs: core ddm sampler
/* The composition explorer: composed posteriors on the exact ones. */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const WINDOW = 10;  // exact sds shown on either side of the exact mean
  const ALONE = 4;  // sds of its own on either side of a posterior that nothing is known of
  const FARTHER = [30, 100, 300, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6];  // where blue is not there
  const XS = Array.from({ length: 201 }, (_, i) => i / 100 - 1);
  const POINTS = 200;  // draws of which a curve is made at most
  const DIVERGED = 1e5;  // exact sds off
  const ON_GRAY = { off: 0.5, ratio: 1.25 };

  const count = (n) => n.toLocaleString("en-US");
  const groups = ({ trained }, { n_subjects: n, group_size: most }) =>
    Math.ceil(n / (most === "auto" ? trained[1] : most));

  /** Draws in units of what they are compared with: sorted, their mean and sd, and those drawn. */
  const cellOf = (data, values, { mean, sd }) => {
    const cell = { z: [], points: [], bias: [], ratio: [] };
    data.names.forEach((name, k) => {
      const z = Array.from(values[name], (v) => (v - mean[k]) / sd[k]).sort((p, q) => p - q);
      const middle = z.reduce((p, q) => p + q, 0) / z.length;
      const step = Math.ceil(z.length / POINTS);
      cell.z.push(z);
      cell.points.push(z.filter((_, i) => i % step === step >> 1));
      cell.bias.push(middle);
      cell.ratio.push(Math.sqrt(z.reduce((p, q) => p + (q - middle) ** 2, 0) / z.length));
    });
    return cell;
  };
  const ownScale = (data, values) => {
    const { bias, ratio } = cellOf(data, values,
      { mean: data.names.map(() => 0), sd: data.names.map(() => 1) });
    return { mean: bias, sd: ratio };
  };

  const figure = (x) => eam.number(x, Math.abs(x) < 9.95 ? 1 : 0);
  const times = (x) => (x < 9.95 ? eam.number(x, 2) : count(Math.round(x)));

  /** Exact sds on either side that hold the composed posterior, and no fewer than there are room for. */
  const reachOf = (z) => {
    const share = (reach) => z.filter((v) => Math.abs(v) < reach).length / z.length;
    return share(WINDOW) >= 0.75 ? WINDOW : FARTHER.find((reach) => share(0.9 * reach) > 0.95);
  };

  /** The worst of what the panels show, in words, and how far the goal is. */
  const verdict = ({ data, cell, exact }) => {
    if (!exact) return "";
    const worst = (values) => values.indexOf(Math.max(...values));
    const far = worst(cell.bias.map(Math.abs));
    const odd = worst(cell.ratio.map((ratio) => Math.abs(Math.log(ratio))));
    const [off, ratio] = [Math.abs(cell.bias[far]), cell.ratio[odd]];
    if (off > DIVERGED) return " The sampler diverged.";
    const there = cell.bias.filter((bias, k) => Math.abs(bias) < ON_GRAY.off &&
      Math.abs(Math.log(cell.ratio[k])) < Math.log(ON_GRAY.ratio)).length;
    const n = data.names.length;
    if (there === n) return ` All ${n} curves lie on gray.`;
    const found = [];
    if (ratio > ON_GRAY.ratio) found.push(`${times(ratio)} times too wide (${data.words[odd]})`);
    if (ratio < 1 / ON_GRAY.ratio) found.push(`${times(1 / ratio)} times too narrow (${data.words[odd]})`);
    if (off > ON_GRAY.off) found.push(`${figure(off)} exact sds off (${data.words[far]})`);
    return ` At worst ${found.join(" and ")}. On gray: ${there} of ${n} curves; the goal is all.`;
  };

  /** One panel: exact in gray, prior dashed, composed in color, truth as a tick. */
  const panel = (k, box, { data, exact, truth, cell, scale }) => {
    const [left, top, width, height] = box;
    const base = top + height - 22;
    const [mean, sd] = [scale.mean[k], scale.sd[k]];
    const least = exact ? WINDOW : ALONE;
    const reach = cell && exact ? reachOf(cell.z[k]) : least;
    const zoom = reach / least;
    const x = eam.scale(mean - reach * sd, mean + reach * sd, left + 4, left + width - 4);
    const at = (z) => x(mean + z * sd);
    const [near, wide] = [XS.map((u) => least * u), XS.map((u) => reach * u)];
    const grey = exact ? eam.density(exact.points[k], near) : [];
    const blue = cell ? eam.density(cell.points[k], wide) : [];
    const dashed = wide.map((z) => {
      const u = (mean + z * sd - data.prior.mean[k]) / data.prior.sd[k];
      return (sd / data.prior.sd[k]) * Math.exp(-0.5 * u * u) / Math.sqrt(2 * Math.PI);
    });
    const peak = Math.max(0, ...grey) || Math.max(0, ...blue) || Math.max(...dashed);
    const common = Math.max(peak, Math.min(Math.max(0, ...blue), 2.5 * peak));
    // Zoomed out, gray is a needle and blue would be flat: each gets its own height.
    const curve = (values, zs = wide) => {
      const y = eam.scale(0, zoom > 1 ? 1.3 * Math.max(...values) : 1.1 * common, base, top + 40);
      return eam.path(values.map((v, i) => [at(zs[i]), Math.max(y(v), top + 38)]));
    };
    const words = !cell ? "…" : exact
      ? `off ${figure(cell.bias[k])} sd, width ×${times(cell.ratio[k])}`
      : `${eam.number(mean, 3)} ± ${eam.number(sd, 3)}`;
    const beyond = cell ? cell.z[k].filter((z) => Math.abs(z) > reach).length / cell.z[k].length : 0;
    const far = [zoom > 1 ? `axis ± ${count(reach)} sd` : "",
      beyond ? `${Math.ceil(100 * beyond)} % beyond` : ""].filter(Boolean);
    return [
      eam.svg("text", { class: "eam-title", x: left + 6, y: top + 14 }, eam.symbol(data.symbols[k])),
      eam.svg("text", { class: "eam-small", x: left + 6, y: top + 32 }, words),
      eam.beside(data.words[k], box),
      exact ? eam.svg("path", { class: "eam-exact",
        d: `${curve(grey, near)}L${at(least)} ${base}L${at(-least)} ${base}Z` }) : "",
      eam.svg("path", { class: "eam-prior", d: curve(dashed) }),
      eam.svg("path", { class: "eam-composed", d: cell ? curve(blue) : "" }),
      truth ? eam.svg("path", { class: "eam-truth", d: `M${x(truth[k]).toFixed(1)} ${base}v-12` }) : "",
      eam.axis(x, base, 3),
      far.length ? eam.svg("text", { class: "eam-far", x: left + width - 8, y: top + 48,
        "text-anchor": "end" }, far.join(", ")) : "",
    ];
  };

  const legend = ([left, top], { cell, exact, truth }) => {
    const rows = [["eam-composed", cell ? "composed" : "composed: none"],
      ["eam-exact", exact && "exact"], ["eam-prior", "prior"], ["eam-truth", truth && "truth"]];
    return [
      rows.filter(([, text]) => text).map(([cls, text], i) => [
        eam.svg("path", { class: cls, d: `M${left + 8} ${top + 20 + 22 * i}h26`,
          ...(cls === "eam-exact" ? { "stroke-width": 9, "stroke-opacity": 0.55 } : {}) }),
        eam.svg("text", { x: left + 42, y: top + 24 + 22 * i }, text),
      ]),
      eam.svg("text", { class: "eam-small", x: left + 8, y: top + 112 }, exact
        ? `axes: exact mean ± ${WINDOW} sd` : cell ? `axes: its own mean ± ${ALONE} sd` : ""),
    ];
  };

  const setting = (data, s) => {
    const sizes = eam.sampler.sizesOf(data, s);
    const n = sizes.length;
    const each = sizes[0] === sizes[n - 1] ? sizes[0] : `${sizes[n - 1]} or ${sizes[0]}`;
    const terms = (s.study ? `New study ${s.study}: ` : "") + `${count(s.n_subjects)} subjects, ` +
      (n === 1 ? "all in one group" : `${count(n)} groups of ${each}`);
    if (n === 1) return `${terms}: nothing to compose.`;
    if (s.method === "gaussian") return `${terms}, Gaussians multiplied.`;
    return `${terms}, scores added: mini-batch ${Math.min(s.mini_batch_size, n)}, d0 = ${s.d0}, ` +
      `d1 = ${s.d1}, ${s.steps} steps.`;
  };

  const describe = ({ data, cell, exact, scale, settings, tag }) => {
    const start = `${tag}. ${setting(data, settings)}`;
    if (!cell) return `${start} ${exact ? "Exact posterior only." : "No posterior yet."}`;
    return `${start} ` + data.names.map((name, k) => exact
      ? `${name}: ${figure(cell.bias[k])} exact sds off, width ${times(cell.ratio[k])} times exact`
      : `${name}: ${eam.number(scale.mean[k], 3)}, sd ${eam.number(scale.sd[k], 3)}`).join("; ") + ".";
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

  /** The stops of a slider that make a difference, among them the value at which it stands. */
  const offered = (stops, value, effect) => {
    const rank = (stop) => (stop === "auto" ? Infinity : stop);
    const all = [...new Set([...stops, value])].sort((p, q) => rank(p) - rank(q));
    const first = new Map();
    for (const stop of all) if (!first.has(effect(stop))) first.set(effect(stop), stop);
    return [[...first.values()], first.get(effect(value))];
  };
  const check = ({ ranges }, settings) => {
    for (const [name, [low, high]] of Object.entries(ranges)) {
      const value = settings[name];
      const whole = name === "d0" || name === "d1" || Number.isInteger(value);
      const auto = name === "group_size" && value === "auto";
      if (!(auto || (value >= low && value <= high && whole))) {
        throw new Error(`${name} = ${value} is not between ${low} and ${high}`);
      }
    }
  };

  /** Call `go` once `node` is near the part of the page that is seen. Returns how to stop. */
  const near = (node, go) => {
    const observer = new IntersectionObserver((entries) => {
      if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
      observer.disconnect();
      go();
    }, { rootMargin: "20% 0px" });
    observer.observe(node);
    return () => observer.disconnect();
  };

  /** Ask the network in the page, as `eam.connect` asks Python: the newest question counts. */
  const ownSampler = (node, data, { say, some, answer, failed }) => {
    const bar = eam.html("progress", { max: 1, "aria-label": "Progress of the draws", hidden: "" });
    const rest = eam.html("span", { "aria-hidden": "true" });
    node.append(eam.html("p", { class: "eam-progress" }, bar, " ", rest));
    let [asked, question, seen] = [null, null, false];
    const now = async () => {
      const controller = asked = new AbortController();
      const start = performance.now();
      let [reading, drawing, ready] = [null, start, 0];
      const progress = (step) => {
        if (step.reading !== reading) {
          reading = step.reading;
          drawing = performance.now();
          say(reading ? "Reading the trials …" : "");
        }
        bar.value = step.share;
        const left = (performance.now() - drawing) * (1 / step.share - 1) / 1000;
        rest.textContent = `${Math.round(100 * step.share)} %` +
          (performance.now() - drawing > 500 && left > 2 ? `, ${Math.ceil(left)} s left` : "");
        if (step.ready > ready) some(step.values, ready = step.ready);
      };
      bar.hidden = false;
      bar.removeAttribute("value");
      rest.textContent = "";
      try {
        const found = await eam.sampler.ask(data, question,
          { signal: controller.signal, progress });
        say("");
        answer(found, performance.now() - start);
      } catch (error) {
        if (controller.signal.aborted) return;
        failed();
        say(`No answer: ${error.message}.`, true);
      }
      bar.hidden = true;
      rest.textContent = "";
    };
    const stopLooking = near(node, () => { seen = true; if (question) now(); });
    const stop = () => asked?.abort();
    return {
      ask: (settings) => { stop(); question = settings; if (seen) now(); },
      stop: () => { stop(); stopLooking(); },
    };
  };

  eam.widgets.composition = (el, page, model) => {
    const { data } = page;
    const settings = { ...page.settings };
    check(data, settings);
    const { say, ...ui } = eam.frame(el, "Composition explorer");
    const shown = { data, settings };
    let width = 0;
    let last = null;  // {values, exact, truth}: what was answered last

    const keyOf = () => (settings.study ? null : data.exact[settings.n_subjects] ?? null);
    const truthOf = () => (settings.study ? null : data.truth);
    const show = (life, tag, { values, exact, truth }, extra = "") => {
      last = { values, exact, truth };
      if (settings.hide) exact = truth = null;
      const scale = exact ?? (values ? ownScale(data, values) : data.prior);
      const cell = values && cellOf(data, values, scale);
      Object.assign(shown, { tag, cell, exact, truth, scale });
      const zoomed = exact && cell?.z.some((z) => reachOf(z) > WINDOW);
      ui.caption.replaceChildren(eam.tag(life, tag), ` ${setting(data, settings)}`,
        cell ? verdict(shown) : "", why(exact),
        zoomed ? " Orange: zoomed out to where blue is, each curve as tall as fits." : "", extra);
      ui.picture.classList.remove("eam-former");
      if (width) draw(ui.picture, width, shown);
    };
    /** Why there is no gray. */
    const why = (exact) => {
      if (exact || settings.hide) return "";
      return settings.study
        ? " The exact posterior of a new study takes minutes, so that there is no gray."
        : ` The exact posterior was computed for ${Object.keys(data.exact).join(", ")} subjects, not ` +
          "for as many as these.";
    };
    const wait = () => {
      if (!last?.values) {
        show("exact", "exact", { values: null, exact: keyOf(), truth: truthOf() });
        return;
      }
      ui.caption.replaceChildren(eam.tag("former", "being drawn"), ` ${setting(data, settings)}`);
      ui.picture.classList.add("eam-former");
    };
    const fail = () => {
      show("exact", "no answer", { values: null, exact: keyOf(), truth: truthOf() },
        data.network || page.live ? "" : " These weights are not in the page.");
    };
    const answer = ({ values, exact = null, truth }, ms) => {
      const n = values[data.names[0]].length;
      show("live", "live", { values, exact: exact ?? keyOf(), truth },
        ` ${count(n)} draws in ${eam.number(ms / 1000, 1)} s.`);
      ui.hear();
    };
    const connected = page.live && model && eam.connect(model, {
      say, answer: (content) => answer(content, content.ms), refused: fail });
    const own = !connected && data.network && ownSampler(ui.root, data, {
      say,
      answer,
      some: (values, ready) => {
        show("live", "live", { values, exact: keyOf(), truth: truthOf() },
          ` The first ${ready} of ${count(data.num_samples)} draws.`);
      },
      failed: fail,
    });

    const update = () => {
      page.keep?.(settings);
      const n = groups(data, settings);
      const off = settings.method === "gaussian" || n === 1;
      const effects = {
        group_size: (v) => groups(data, { ...settings, group_size: v }),
        mini_batch_size: (v) => Math.min(v, n),
      };
      for (const [name, slider] of Object.entries(sliders)) {
        slider.offer(...offered(data.stops[name], settings[name], effects[name] ?? ((v) => v)));
        slider.disable(name === "steps" ? settings.method === "gaussian"
          : off && ["mini_batch_size", "d0", "d1"].includes(name));
      }
      method.set(settings.method);
      back.disabled = settings.study === 0;
      for (const button of scenes) {
        const own = Object.entries({ study: 0, ...data.scenes[button.textContent] });
        button.setAttribute("aria-pressed", own.every(([name, value]) => settings[name] === value));
      }
      if (!connected && !own) { fail(); return; }
      wait();
      if (connected) connected.ask(JSON.stringify({ ...settings, hide: 0 }), { ...settings });
      else own.ask({ ...settings });
    };
    const change = (news) => { Object.assign(settings, news); update(); };

    const formats = {
      n_subjects: count,
      group_size: (v) => {
        if (v === "auto") return `auto (${Math.min(data.trained[1], settings.n_subjects)})`;
        return v >= settings.n_subjects ? `${settings.n_subjects} (all)` : count(v);
      },
      mini_batch_size: (v) => {
        const n = groups(data, settings);
        return v >= n ? `${n} (all)` : count(v);
      },
    };
    const words = {
      n_subjects: ["Subjects J", "how many people"],
      group_size: ["Group size", "people the network sees at once"],
      mini_batch_size: ["Mini-batch", "groups per estimate of the score"],
      d0: ["Bridge d0", "data end: below 1 it tempers the target"],
      d1: ["Bridge d1", "noise end: below 1 it damps the start"],
      steps: ["Steps", "of Euler–Maruyama"],
    };
    const method = eam.choice({
      label: "Combine groups by", name: "method", value: settings.method,
      options: { sum: "adding scores", gaussian: "multiplying Gaussians" },
    }, (value) => change({ method: value }));
    const sliders = Object.fromEntries(Object.entries(words).map(([name, [label, note]]) => [name,
      eam.slider({ label, note, name, stops: [settings[name]], value: settings[name],
        format: formats[name] }, (value) => change({ [name]: value }))]));
    const hide = eam.tick({ label: "hide the exact answer", name: "hide", value: settings.hide === 1 },
      (ticked) => {
        settings.hide = ticked ? 1 : 0;
        page.keep?.(settings);
        if (ui.picture.classList.contains("eam-former")) return;
        const tag = ui.caption.querySelector(".eam-tag");
        show(tag.dataset.life, tag.textContent, last);
      });
    const back = eam.button("Back to the first study", () => change({ study: 0 }));
    const scenes = Object.entries(data.scenes).map(([name, scene]) =>
      eam.button(name, () => change({ study: 0, ...scene })));
    ui.controls.append(method.node, ...Object.values(sliders).map(({ node }) => node),
      eam.html("div", { class: "eam-buttons" },
        eam.button("New study", () => change({ study: settings.study + 1 })), back, hide.node),
      eam.html("div", { class: "eam-buttons eam-scenes", role: "group", "aria-label": "Scenes" },
        "Scenes:", scenes));
    update();
    const unfit = eam.fit(ui.picture, (w) => { width = w; draw(ui.picture, w, shown); });
    return () => { unfit(); connected?.stop?.(); own?.stop(); };
  };
})();
