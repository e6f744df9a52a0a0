/* Draws some of the draws that sampler.js wants, beside the page and other workers. */
importScripts("../core.js", "engine.js", "global.weights.js");
(() => {
  "use strict";
  const { engine, networks } = globalThis.eamlab;
  const network = engine.load(networks.global);
  let last = Promise.resolve();

  onmessage = ({ data: { groups, method, options }, ports: [port] }) => {
    const controller = new AbortController();
    port.onmessage = () => controller.abort();
    const draw = () => engine.run(engine[method]({ ...groups, network }, options), {
      signal: controller.signal, progress: ({ share }) => port.postMessage({ share }) });
    last = last.then(draw).then(({ z }) => port.postMessage({ share: 1, z }),
      (error) => port.postMessage({ error: error.message }));
  };
  postMessage("ready");
})();
