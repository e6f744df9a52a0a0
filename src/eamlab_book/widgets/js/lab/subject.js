// needs: core playground analysis figures
/* Be a subject: forty two-choice decisions, then one's own trials through the networks.
 *
 * Dots move, most of them at random and some together; without motion there are dots at rest, more
 * of them on one side. A time begins with the frame on which the dots appear and ends with the time
 * that the browser gives to the key or the touch. Correct is upper.
 */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const { html } = eam;
  const WANTED = 40;  // good trials
  const SLOWEST_MS = 3000;
  const FASTEST_MS = 150;  // what is faster was no answer to the dots
  const [PAUSE_MS, JITTER_MS, TOLD_MS] = [450, 350, 1100];
  const SIZE = 300;
  const DOTS = 110;
  const SPEED = 75;  // pixels a second
  const LIFE_MS = 400;  // of a dot, so that none can be followed
  const LEVELS = { easy: [0.4, 0.16], medium: [0.22, 0.1], hard: [0.12, 0.06] };
  const KEYS = { ArrowLeft: 0, f: 0, F: 0, ArrowRight: 1, j: 1, J: 1 };

  /** Dots within a circle; `move(ms)` lets them go on. */
  const movingDots = (side, coherence, { uniform }) => {
    const place = () => {
      const [r, a] = [0.5 * SIZE * Math.sqrt(uniform()), 2 * Math.PI * uniform()];
      return [r * Math.cos(a), r * Math.sin(a)];
    };
    const fresh = (age) => ({ at: place(), age,
      angle: uniform() < coherence ? (side ? 0 : Math.PI) : 2 * Math.PI * uniform() });
    const dots = Array.from({ length: DOTS }, () => fresh(LIFE_MS * uniform()));
    const move = (ms) => dots.forEach((dot, i) => {
      dot.age += ms;
      const far = (SPEED * ms) / 1000;
      dot.at = [dot.at[0] + far * Math.cos(dot.angle), dot.at[1] + far * Math.sin(dot.angle)];
      if (dot.age > LIFE_MS || Math.hypot(...dot.at) > 0.5 * SIZE) dots[i] = fresh(0);
    });
    return { points: () => dots.map(({ at }) => at), move };
  };
  /** Dots at rest, more of them on one side. */
  const restingDots = (side, excess, { uniform }) => {
    const more = Math.round((DOTS / 2) * (1 + excess));
    const points = Array.from({ length: DOTS }, (_, i) => {
      const right = (i < more) === (side === 1);
      let x, y;
      do [x, y] = [uniform(), 2 * uniform() - 1]; while (x * x + y * y > 1 || x < 0.06);
      return [0.5 * SIZE * (right ? x : -x), 0.5 * SIZE * y];
    });
    return { points: () => points, move: () => {} };
  };

  eam.widgets.subject = (el, page) => {
    const wanted = page.settings?.trials ?? WANTED;
    const random = eam.random(page.settings?.seed ?? Math.floor(performance.timeOrigin + performance.now()));
    const still = globalThis.matchMedia?.("(prefers-reduced-motion: reduce)").matches;
    const settings = { level: "medium", dots: still ? "rest" : "move", others: "none" };
    const players = [];
    let trials = [];  // [choice, time, ...] of the one who plays
    let tries = 0;
    let phase = "idle";  // idle, pause, shown, told, away, done
    let current = null;
    let timer = null;
    let study = null;  // the last one of the lab

    const canvas = html("canvas", { width: SIZE, height: SIZE, "aria-hidden": "true" });
    const told = html("p", { class: "eam-told", role: "status", "aria-live": "assertive" });
    const stage = html("div", { class: "eam-stage", tabindex: 0, role: "application",
      "aria-label": "The task: left or right arrow key for the side, Escape to pause",
      "data-lm-suppress-shortcuts": "true" }, canvas, told);
    const side = (which, text) => {
      const node = html("button", { type: "button", class: "eam-button eam-side" }, text);
      node.addEventListener("pointerdown", (event) => { event.preventDefault(); respond(which, event); });
      node.addEventListener("click", (event) => { if (event.detail === 0) respond(which, event); });
      return node;
    };
    const sides = html("div", { class: "eam-sides" }, side(0, "← left"), side(1, "right →"));
    const go = eam.button("Start", () => begin());
    const status = html("p", { class: "eam-status", role: "status", "aria-live": "polite" });
    const say = (text) => { status.textContent = text; };
    const { node: progress, run } = eam.lab.worker(say);
    const results = html("div");
    const next = html("div", { class: "eam-buttons" });
    const ofBook = ({ fingerprint }) => fingerprint === eam.lab.crowd.fingerprint;
    const choice = eam.lab.modelChoice(say, () => { if (phase === "done") answer(); },
      eam.lab.models.filter(({ conditions }) => !conditions).sort((a, b) => ofBook(b) - ofBook(a)));

    const context = canvas.getContext("2d");
    const paint = (points) => {
      const ratio = globalThis.devicePixelRatio || 1;
      if (canvas.width !== SIZE * ratio) canvas.width = canvas.height = SIZE * ratio;
      context.setTransform(ratio, 0, 0, ratio, (SIZE * ratio) / 2, (SIZE * ratio) / 2);
      context.clearRect(-SIZE, -SIZE, 2 * SIZE, 2 * SIZE);
      context.fillStyle = getComputedStyle(stage).color;
      for (const [x, y] of points) {
        context.beginPath();
        context.arc(x, y, 2.5, 0, 2 * Math.PI);
        context.fill();
      }
    };
    const cross = () => paint([[0, 0], [-4, 0], [4, 0], [0, -4], [0, 4]]);
    const good = () => trials.length / 2;
    const tell = (text) => { told.textContent = text; };

    const pause = () => {
      phase = "pause";
      tell(`${good() + 1} of ${wanted}`);
      cross();
      timer = setTimeout(present, PAUSE_MS + JITTER_MS * random.uniform());
    };
    const present = () => {
      const which = random.uniform() < 0.5 ? 0 : 1;
      const [coherence, excess] = LEVELS[settings.level];
      const dots = settings.dots === "move" ? movingDots(which, coherence, random)
        : restingDots(which, excess, random);
      const mine = current = { which, onset: null };
      let last = null;
      const frame = (now) => {
        if (current !== mine) return;
        if (mine.onset === null) { mine.onset = now; phase = "shown"; tell(""); } else dots.move(now - last);
        last = now;
        paint(dots.points());
        if (now - mine.onset > SLOWEST_MS) {
          lapse("Too slow: answer within three seconds. This one comes again.");
        } else if (settings.dots === "move" || last === mine.onset) requestAnimationFrame(frame);
        else timer = setTimeout(() => requestAnimationFrame(frame), 50);  // only to see that it is late
      };
      requestAnimationFrame(frame);
    };
    const lapse = (text) => {
      current = null;
      phase = "told";
      cross();
      tell(text);
      timer = setTimeout(pause, TOLD_MS);
    };
    const respond = (which, event) => {
      if (phase === "pause") {
        clearTimeout(timer);
        current = null;
        lapse("Too early: wait for the dots.");
        return;
      }
      if (phase !== "shown") return;
      const ms = event.timeStamp - current.onset;
      tries += 1;
      if (ms < FASTEST_MS) { lapse("Too early: look first. This one comes again."); return; }
      trials.push(which === current.which ? 1 : 0, Math.fround(ms / 1000));
      current = null;
      if (good() >= wanted) finish(); else pause();
    };
    const away = (text) => {
      if (!["pause", "shown", "told"].includes(phase)) return;
      clearTimeout(timer);
      current = null;
      phase = "away";
      paint([]);
      tell(text);
      go.hidden = false;
      go.textContent = "Go on";
    };
    const begin = async () => {
      if (phase === "done") trials = [];
      phase = "loading";
      go.hidden = true;
      next.replaceChildren();
      stage.focus({ preventScroll: true });
      try {
        await choice.ready();  // not amid the trials
      } catch (error) {
        say(error.message);
      }
      if (phase === "loading") pause();
    };
    stage.addEventListener("keydown", (event) => {
      if (event.key in KEYS) { event.preventDefault(); if (!event.repeat) respond(KEYS[event.key], event); }
      if (event.key === "Escape") away("Paused. Nothing is lost.");
      if ((event.key === " " || event.key === "Enter") && ["idle", "away"].includes(phase)) {
        event.preventDefault();
        begin();
      }
    });
    const ended = new AbortController();
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) away("You were away: that trial does not count, the others are kept.");
    }, { signal: ended.signal });
    globalThis.addEventListener("blur", () => {
      away("You were away: that trial does not count, the others are kept.");
    }, { signal: ended.signal });

    // ---------------------------------------------------------------------------- your posterior

    const groups = () => ({ none: "nobody: your own trials are all there is",
      ...(ofBook(choice.model) ? { book: "the 10,000 simulated people of this book" } : {}),
      ...(study ? { study: `the people of ${study.label}` } : {}) });
    const finish = () => {
      phase = "done";
      paint([]);
      tell("Thank you. That was all.");
      players.push(trials);
      go.hidden = false;
      go.textContent = "Next person on this machine";
      eam.lab.news.tell({ source: "players", label: `${players.length} who took part here`,
        trials: players.slice() });
      answer();
    };
    const csv = () => "participant_id,rt,response\n" + players.map((own, j) =>
      Array.from({ length: own.length / 2 }, (_, i) => `${j + 1},${own[2 * i + 1].toFixed(4)},${own[2 * i]}\n`)
        .join("")).join("");
    const answer = async () => {
      try {
        const model = await choice.ready();
        if (!model) return;
        const others = { none: null, book: ofBook(model) ? eam.lab.crowd.draws : null,
          study: study?.model === model ? study.values : null }[settings.others];
        const found = await run(eam.lab.person(model, trials, { others }));
        if (found) showAnswer(model, found);
      } catch (error) {
        say(`The networks could not answer: ${error.message}`);
      }
    };
    const showAnswer = (model, { before, after }) => {
      const kinds = model.local.people;
      const summaries = Object.fromEntries(kinds.map(({ name }) => [name, eam.lab.summary(after[name])]));
      const n = good();
      const correct = trials.filter((_, i) => i % 2 === 0 && trials[i] === 1).length;
      const times = Float64Array.from({ length: n }, (_, i) => trials[2 * i + 1]).sort();
      const outside = eam.check.extrapolation(model.global, [trials]);
      const choose = eam.choice({ label: "You belong to", name: "others", value: settings.others,
        options: groups() }, (key) => { settings.others = key; answer(); });
      const wide = kinds.map(({ name }) => {
        const { q05, q95 } = summaries[name];
        return `${name} ${eam.number(q05, 2)} to ${eam.number(q95, 2)}`;
      }).join(", ");
      say(`${eam.count(correct)} of ${n} correct, median time ` +
        `${eam.number(eam.reading.quantile(times, 0.5), 2)} s. Your 90 % intervals: ${wide}.`);
      results.replaceChildren(
        eam.lab.figure("Your drift, boundary and non-decision time (s): before your trials, somebody of " +
          "whom nothing is known but the population; after them, you.",
        (width) => eam.figures.person(width, kinds, before, after, summaries)),
        outside.length ? html("p", { class: "eam-status eam-problem" }, outside[0]) : "", choose.node);
      next.replaceChildren(eam.button("Save the trials as CSV", () => eam.lab.save("my_trials.csv", csv())));
    };

    eam.lab.news.hear((what) => { if (what.source === "study") study = what; });
    const options = html("div", { class: "eam-controls" },
      eam.choice({ label: "Dots", name: "dots", value: settings.dots, options: {
        move: "move: which way do they go?", rest: "at rest: which side has more?" } },
      (key) => { settings.dots = key; }).node,
      eam.choice({ label: "How hard", name: "level", value: settings.level, options: {
        easy: "easy", medium: "medium", hard: "hard" } }, (key) => { settings.level = key; }).node);
    tell(`${wanted} decisions, about two minutes. Keys ← and → (or F and J), or the buttons below. As fast ` +
      "as you can without guessing.");
    el.replaceChildren(html("section", { class: "eam-widget eam-lab", "aria-label": "Be a subject" },
      choice.node, options, stage, sides, html("div", { class: "eam-buttons" }, go, next), status,
      progress, results));
    requestAnimationFrame(cross);  // in the ink that the page has by then
    return () => { ended.abort(); clearTimeout(timer); current = null; phase = "idle"; };
  };
})();
