/**
 * Search a folder of text files by meaning: a vector for each paragraph, held in memory, and a dot product with each. No
 * database. The demo's checkpoint was not trained for it; Qwen/Qwen3-Embedding-0.6B was.
 *
 *   node examples/search.mjs [model directory or Hub id] [folder] [query]
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Engine } from "lockstep";

const pathOf = (name) => fileURLToPath(new URL(name, import.meta.url));
const [
  model = pathOf("demo/model"),
  folder = pathOf("texts"),
  query = "Why do my eyes water when I chop vegetables?",
] = process.argv.slice(2);

const passages = readdirSync(folder, { recursive: true })
  .filter((file) => /\.(txt|md)$/.test(file))
  .sort()
  .flatMap((file) => {
    const paragraphs = readFileSync(join(folder, file), "utf8").split(/\n\s*\n/);
    return paragraphs.map((text) => ({ file, text: text.replace(/\s+/g, " ").trim() }));
  })
  .filter(({ text }) => text !== "");

const engine = await Engine.load(model);
try {
  // Documents are embedded as they are, queries with the task they belong to.
  const vectors = await engine.embed(passages.map(({ text }) => text));
  const instruct = "Given a question, retrieve passages that answer it";
  const wanted = await engine.embed(query, { instruct });

  // All vectors have length 1, so the dot product is the cosine.
  const cosine = (vector) => vector.reduce((sum, value, i) => sum + value * wanted[i], 0);
  const hits = passages.map((passage, i) => ({ ...passage, score: cosine(vectors[i]) }));
  hits.sort((a, b) => b.score - a.score);

  console.log(`${query} (${passages.length} passages)`);
  for (const { score, file, text } of hits.slice(0, 3)) console.log(`${score.toFixed(3)}  ${file}: ${text}`);
} finally {
  await engine.close();
}
