/**
 * Loads with the options that the second argument holds (JSON) until a load gets through: with LOCKSTEP_CUDA_ON_CPU=short-of-memory
 * the first allocation of the first load fails, the second one of the second load, and so on. Prints, as JSON, each load's error,
 * then the blocks of the cache and the share of its devices' memory that the engine holds.
 */
import { doctor, Engine } from "lockstep";

const [, , model, json] = process.argv;
const options = JSON.parse(json);
const errors = [];
let engine;
while (engine === undefined) {
  try {
    engine = await Engine.load(model, options);
  } catch ({ code, message }) {
    errors.push({ code, message });
  }
}
const { blocks, deviceBytes } = engine.stats();
const [{ totalBytes }] = doctor().cuda.devices;
const share = deviceBytes / totalBytes / [options.device].flat().length;
console.log(JSON.stringify({ errors, blocks, share }));
await engine.close();
