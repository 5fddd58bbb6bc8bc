/** Another process: reads a sample from stdin, goes on from it and prints what it became. */
import { text } from "node:stream/consumers";
import { Engine } from "lockstep";

const [, , model] = process.argv;
const engine = await Engine.load(model, { threads: 2 });
const turn = ({ turns }) => (turns < 3 ? { messages: [{ role: "user", content: "Go on." }] } : null);
const sample = await engine.resume(JSON.parse(await text(process.stdin)), { turn });
console.log(JSON.stringify(sample));
await engine.close();
