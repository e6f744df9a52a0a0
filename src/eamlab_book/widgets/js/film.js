// needs: core
/* The reverse-diffusion film: particles on their way from noise to the composed posterior. */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const REACH = 3.2;      // prior sds shown on either side
  const FRAME_MS = 220;

  const unpack = (data, film) => {
    const part = (text) => [...eam.decode(text)].map((v) => v / data.scale);
    return { ...film, points: part(film.particles), arrows: part(film.field) };
  };

  /** Outline that holds 95 % of the exact posterior, diffused to noise level (alpha, sigma). */
  const outline = (exact, alpha, sigma, x, y) => {
    const [[a, b], [, d]] = exact.cov.map((row, i) =>
      row.map((c, j) => alpha ** 2 * c + (i === j ? sigma ** 2 : 0)));
    const [l11, radius] = [Math.sqrt(a), Math.sqrt(5.991)];
    const l21 = b / l11;
    const l22 = Math.sqrt(Math.max(0, d - l21 ** 2));
    return eam.path(Array.from({ length: 61 }, (_, i) => {
      const [c, s] = [Math.cos(i * Math.PI / 30), Math.sin(i * Math.PI / 30)];
      return [x(alpha * exact.mean[0] + radius * l11 * c),
        y(alpha * exact.mean[1] + radius * (l21 * c + l22 * s))];
    }));
  };

  const upright = (y, left) => eam.svg("g", { class: "eam-axis" },
    eam.svg("path", { d: `M${left} ${y.range[0]}V${y.range[1]}` }),
    [-2, 0, 2].map((v) => [
      eam.svg("path", { d: `M${left} ${y(v).toFixed(1)}h-4` }),
      eam.svg("text", { x: left - 7, y: y(v) + 4, "text-anchor": "end" }, eam.number(v, 0)),
    ]));

  const spread = (values) => {
    const mean = values.reduce((p, q) => p + q, 0) / values.length;
    return Math.sqrt(values.reduce((p, q) => p + (q - mean) ** 2, 0) / values.length);
  };

  /** What one frame shows, as numbers. */
  const frameOf = (film, data, at) => {
    const n = film.n_particles;
    const start = 2 * n * at;
    const points = Array.from({ length: n }, (_, i) =>
      [Math.sinh(film.points[start + 2 * i]), Math.sinh(film.points[start + 2 * i + 1])]);
    const side = data.field_at.length;
    const first = 2 * side * side * at;
    const arrows = Array.from({ length: side * side }, (_, i) =>
      [Math.sinh(film.arrows[first + 2 * i]), Math.sinh(film.arrows[first + 2 * i + 1])]);
    const longest = Math.max(...arrows.map(([u, v]) => Math.hypot(u, v)));
    return { points, arrows, longest, t: film.times[at] };
  };

  const draw = (node, width, shown) => {
    const { data, film, exact, settings } = shown;
    const size = Math.min(width, 460);
    const pad = 30;
    const x = eam.scale(-REACH, REACH, pad, size - 6);
    const y = eam.scale(-REACH, REACH, size - pad, 6);
    const frame = frameOf(film, data, settings.frame);
    const alpha = Math.cos(Math.PI / 2 * frame.t);
    const sigma = Math.sin(Math.PI / 2 * frame.t);
    const cell = (x(REACH) - x(-REACH)) / data.field_at.length;
    const arrows = frame.arrows.map(([u, v], i) => {
      const gx = x(data.field_at[i % data.field_at.length]);
      const gy = y(data.field_at[Math.floor(i / data.field_at.length)]);
      const share = 0.48 * cell / frame.longest;
      const [dx, dy] = [u * share, -v * share];
      const [nx, ny] = [-dy * 0.22, dx * 0.22];
      return `M${gx.toFixed(1)} ${gy.toFixed(1)}l${dx.toFixed(1)} ${dy.toFixed(1)}` +
        `m${(-0.35 * dx + nx).toFixed(1)} ${(-0.35 * dy + ny).toFixed(1)}` +
        `l${(0.35 * dx - nx).toFixed(1)} ${(0.35 * dy - ny).toFixed(1)}` +
        `l${(-0.35 * dx - nx).toFixed(1)} ${(-0.35 * dy - ny).toFixed(1)}`;
    }).join("");
    const inside = frame.points.filter(([p, q]) => Math.abs(p) < REACH && Math.abs(q) < REACH);
    const dots = inside.map(([p, q]) =>
      eam.svg("circle", { class: "eam-dot", cx: x(p).toFixed(1), cy: y(q).toFixed(1), r: 2.6 }));
    const ratio = [0, 1].map((k) => spread(frame.points.map((p) => p[k])) /
      Math.sqrt(alpha ** 2 * exact.cov[k][k] + sigma ** 2));
    const lost = frame.points.length - inside.length;
    shown.words = `t = ${eam.number(frame.t, 2)}: the particles spread ` +
      `${eam.number(ratio[0], 2)} and ${eam.number(ratio[1], 2)} times as wide as the exact ` +
      `posterior with as much noise; the longest arrow is a score of ` +
      `${frame.longest < 10 ? eam.number(frame.longest, 1) : Math.round(frame.longest)}` +
      `${lost ? `; ${lost} particles are outside` : ""}.`;
    const gray = outline(exact, alpha, sigma, x, y);
    node.replaceChildren(eam.svg("svg", {
      viewBox: `0 0 ${size} ${size}`, width: size, height: size, role: "img", class: "eam-film",
      "aria-label": `${shown.life}. ${settings.n_subjects} subjects, d0 = ${settings.d0}, ` +
        `d1 = ${settings.d1}. ${shown.words}`,
    },
    eam.svg("path", { class: "eam-exact", d: gray }),
    eam.svg("path", { class: "eam-arrow", d: arrows }), dots,
    eam.svg("path", { class: "eam-outline", d: gray }),
    eam.axis(x, size - pad, 4), upright(y, pad),
    eam.svg("text", { class: "eam-title", x: size - 12, y: size - pad - 8, "text-anchor": "end" },
      eam.symbol(data.symbols[0])),
    eam.svg("text", { class: "eam-title", x: pad + 8, y: 20 }, eam.symbol(data.symbols[1]))));
  };

  eam.widgets.film = (el, page, model) => {
    const data = page.data;
    const settings = { ...page.settings };
    const { say, ...ui } = eam.frame(el, "Film of the reverse diffusion");
    const shown = { data, settings };
    let width = 0;
    let playing = null;

    const filmKey = () => `${settings.n_subjects}|${settings.d0}|${settings.d1}`;
    const picture = () => {
      if (!width || !shown.film) return;
      draw(ui.picture, width, shown);
      ui.caption.replaceChildren(eam.tag(shown.life), ` ${shown.words}`);
    };
    const showStored = () => {
      shown.film = unpack(data, data.films[filmKey()]);
      shown.exact = data.exact[settings.n_subjects];
      shown.life = "precomputed";
      picture();
    };
    const connection = page.live && eam.connect(model, {
      say,
      answer: (film) => {
        shown.film = unpack(data, film);
        shown.life = "live";
        picture();
      },
    });
    const changed = () => {
      showStored();
      page.keep?.(settings);
      if (!connection) return;
      const { n_subjects, d0, d1, seed } = settings;
      connection.ask(JSON.stringify([n_subjects, d0, d1, seed]), { n_subjects, d0, d1, seed });
    };

    const last = data.n_frames - 1;
    const time = eam.slider({
      label: "Diffusion time", name: "frame", note: "left: noise; right: the posterior",
      stops: Array.from({ length: data.n_frames }, (_, i) => i), value: settings.frame,
      format: (i) => `t = ${eam.number(data.times[i], 2)}`,
    }, (i) => { stop(); settings.frame = i; page.keep?.(settings); picture(); });
    const stop = () => {
      clearInterval(playing);
      playing = null;
      play.textContent = "Play";
    };
    const play = eam.button("Play", () => {
      if (playing) { stop(); return; }
      if (settings.frame >= last) settings.frame = 0;
      play.textContent = "Pause";
      playing = setInterval(() => {
        settings.frame += 1;
        time.set(settings.frame);
        picture();
        if (settings.frame >= last) stop();
      }, FRAME_MS);
    });
    const slider = (name, label, note) => {
      const stops = [...data.stops[name]].sort((p, q) => p - q);
      return eam.slider({ label, note, name, stops, value: settings[name] }, (value) => {
        stop();
        settings[name] = value;
        changed();
      }).node;
    };
    const buttons = eam.html("div", { class: "eam-buttons" }, play);
    if (page.live) {
      buttons.append(" ", eam.button("New noise", () => { settings.seed += 1; changed(); }));
    }
    ui.controls.append(time.node, slider("n_subjects", "Subjects J", "in groups of 5"),
      slider("d0", "Bridge d0", "data end"), slider("d1", "Bridge d1", "noise end"), buttons);
    changed();
    const unfit = eam.fit(ui.picture, (w) => { width = w; picture(); });
    return () => { stop(); unfit(); connection?.stop?.(); };
  };
})();
