// needs: core ddm
/* What the explorer asks in a rendered page: the network and the demonstration study in js/engine,
 * loaded at the first question, and new studies that are simulated here. All explorers of a page
 * share them, and what is known already: people are read once, whatever groups they come to be in.
 * Over http workers draw side by side; from a folder browsers allow none, and the page draws itself.
 */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const PARTS = ["engine", "global.weights", "demo.trials"];
  const TOGETHER = 64;  // people read at once
  const KEPT = 8;  // groupings that are not prepared again
  const WORKERS = 4;
  const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const SEED = 1;  // of the draws: everybody sees the same

  let network = null;
  const studies = new Map();
  const prepared = new Map();

  const start = async () => {
    for (const part of PARTS) await eam.load(`engine/${part}.js`);
    network ??= eam.engine.load(eam.networks.global);
  };

  /** A person of the demonstration: two letters of its file are a trial. */
  const demonstration = () => {
    const { n_trials: n, low, step, trials } = eam.studies.demo;
    return (j) => {
      const person = new Float32Array(2 * n);
      for (let i = 0; i < n; i++) {
        const at = 2 * (j * n + i);
        const code = 64 * LETTERS.indexOf(trials[at]) + LETTERS.indexOf(trials[at + 1]);
        person[2 * i] = code >> 11;
        person[2 * i + 1] = Math.exp(low + step * (code & 2047));
      }
      return person;
    };
  };
  /** A population from the prior: its parameters, and its people, one after the other. */
  const population = (data, number) => {
    const random = eam.random(1000 + number);
    const { mean, sd } = data.prior;
    const truth = mean.map((m, k) => m + sd[k] * random.normal());
    const of = (name) => truth[data.names.indexOf(name)];
    const beta = betaOf(data.beta, of("beta_raw"));
    const next = () => {
      const subject = { beta };
      for (const { name, mean: m, log_sd: s, positive } of data.people) {
        const value = of(m) + Math.exp(of(s)) * random.normal();
        subject[name] = positive ? Math.exp(value) : value;
      }
      const trial = eam.ddm.sampler(subject, random);
      const person = new Float32Array(2 * data.n_trials);
      for (let i = 0; i < person.length; i += 2) {
        const { upper, time } = trial();
        person[i] = upper ? 1 : 0;
        person[i + 1] = time;
      }
      return person;
    };
    const people = [];
    const person = (j) => {
      while (people.length <= j) people.push(next());
      return people[j];
    };
    return { truth, person };
  };
  const betaOf = ({ raw: [first, last], values }, raw) => {
    const place = ((raw - first) / (last - first)) * (values.length - 1);
    const i = Math.max(0, Math.min(values.length - 2, Math.floor(place)));
    return values[i] + (place - i) * (values[i + 1] - values[i]);
  };
  const studyOf = (data, number) => {
    if (!studies.has(number)) {
      const study = number ? population(data, number)
        : { truth: data.truth, person: demonstration() };
      studies.set(number, { ...study, embeddings: [] });
    }
    return studies.get(number);
  };

  /** Read people until there are `count`, who stay read; others may read the same meanwhile. */
  function* grow({ embeddings, person }, count) {
    for (let from; (from = embeddings.length) < count;) {
      const people = Array.from({ length: Math.min(TOGETHER, count - from) },
        (_, j) => person(from + j));
      const work = eam.engine.embed(network, people);
      let step;
      while (!(step = work.next()).done) yield { reading: true, share: from / count };
      if (embeddings.length === from) embeddings.push(...step.value);
    }
    return embeddings.slice(0, count);
  }

  /** The fewest, nearly equal groups of no more than is asked. */
  const sizesOf = ({ trained }, { n_subjects: count, group_size: most }) => {
    const groups = Math.ceil(count / (most === "auto" ? trained[1] : most));
    const size = Math.floor(count / groups);
    return Array.from({ length: groups }, (_, g) => size + (g < count % groups ? 1 : 0));
  };

  function* groupsOf(data, settings) {
    const sizes = sizesOf(data, settings);
    const { study, n_subjects: count } = settings;
    const key = [study, count, sizes.length].join();
    if (!prepared.has(key)) {
      const embeddings = yield* grow(studyOf(data, study), count);
      const summaries = yield* eam.engine.pool(network, embeddings, sizes);
      prepared.set(key, yield* eam.engine.prepare(network, summaries));
      if (prepared.size > KEPT) prepared.delete(prepared.keys().next().value);
    }
    return prepared.get(key);
  }

  /** What to ask the engine: [its method, options]. */
  const questionOf = (data, { method, mini_batch_size: miniBatch, steps, d0, d1 }, { count }) => {
    const options = { draws: data.num_samples, seed: SEED };
    if (method === "gaussian") return ["gaussianComposition", options];
    const bridge = count > 1 ? { d0, d1 } : {};  // nothing to compose
    return ["summedComposition", { ...options, ...bridge, miniBatch, steps }];
  };

  let workers = null;
  const startWorker = () => new Promise((done) => {
    const worker = new Worker(eam.address("engine/worker.js"));
    worker.onmessage = () => done([worker]);
    worker.onerror = () => done([]);
  });
  /** Those that have started, once all have tried. */
  const startWorkers = () => {
    const most = location.protocol.startsWith("http") ? WORKERS : 0;
    const length = Math.min(most, navigator.hardwareConcurrency);
    return workers ??= Promise.all(Array.from({ length }, startWorker)).then((all) => all.flat());
  };
  const workAt = (worker, question, signal, hear) => new Promise((done, failed) => {
    const { port1: port, port2 } = new MessageChannel();
    port.onmessage = ({ data }) => {
      if (data.z || data.error) port.close();
      if (signal.aborted) return;
      if (data.error) { failed(new Error(data.error)); return; }
      hear(data);
      if (data.z) done();
    };
    signal.addEventListener("abort", () => { port.postMessage("stop"); failed(signal.reason); });
    worker.postMessage(question, [port2]);
  });
  /** The draws of an engine's method by workers, a batch for each in turn. */
  const sideBySide = async (all, { network, ...groups }, method, options, { signal, progress }) => {
    const batches = eam.engine.batches(options.draws, options.seed);
    const z = new Float64Array(options.draws * network.dim);
    const shares = batches.map(() => 0);
    const question = (own) => ({ groups, method, options: { ...options, ...own } });
    const hear = (from, b) => ({ share, z: some }) => {
      if (some) z.set(some, from * network.dim);
      shares[b] = some ? 1 : Math.min(share, 0.999);
      const there = shares.findIndex((one) => one < 1);
      progress({ z, ready: there < 0 ? options.draws : batches[there].from,
        share: batches.reduce((sum, { draws }, i) => sum + shares[i] * draws, 0) / options.draws });
    };
    await Promise.all(batches.map(({ from, ...own }, b) =>
      workAt(all[b % all.length], question(own), signal, hear(from, b))));
    return z;
  };

  /**
   * Draw from the composed posterior of `settings`: {values, truth}. `progress` gets {reading} while
   * people are read, and then {share, values}, with the draws that are there.
   */
  const ask = async (data, settings, { signal, progress }) => {
    await start();
    signal.throwIfAborted();
    const running = { signal, progress: ({ share = 0, reading, ready, z }) => progress({ share,
      reading, ready, values: ready ? eam.engine.named(network, z, ready) : null }) };
    const groups = await eam.engine.run(groupsOf(data, settings), running);
    const [method, options] = questionOf(data, settings, groups);
    const all = await startWorkers();
    signal.throwIfAborted();
    const z = all.length ? await sideBySide(all, groups, method, options, running)
      : (await eam.engine.run(eam.engine[method](groups, options), running)).z;
    return { values: eam.engine.named(network, z, data.num_samples),
      truth: studyOf(data, settings.study).truth };
  };

  eam.sampler = { ask, sizesOf };
})();
