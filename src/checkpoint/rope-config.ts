/**
 * The RoPE part of config.json, in its current layout (`rope_parameters`) and the older one (`rope_theta`,
 * `rope_scaling`) that released Qwen3 checkpoints have. Main thread; pure.
 * Must not guess: RoPE numbers that contradict each other, or a scaling that is not here, would load and talk nonsense.
 */
import type { Fields } from "./fields.js";
import { quote, refuse } from "./refuse.js";
import { type RopeConfig, type YarnConfig, yarnScale } from "./rope.js";

const kMaxPositions = 2 ** 24;

export function parseRope(config: Fields, maxPositionEmbeddings: number): RopeConfig {
  const given = [config.nested("rope_parameters"), config.nested("rope_scaling")].filter(
    (rope) => rope !== undefined && rope.object.size > 0,
  ) as Fields[];
  for (const fields of [config, ...given]) fields.onlyIf("partial_rotary_factor", 1);
  // transformers moves all of these into one dictionary; where it would pick one of two values, we refuse.
  const theta = agreed(
    [config, ...given].map((fields) => [fields, "rope_theta"]),
    (fields, key) => fields.number(key, 1.0001, 1e15),
  );
  if (theta === undefined) throw config.bad("rope_theta", "a number (here or in rope_parameters)");
  if (given.length === 0) return { theta, attentionFactor: 1 };
  const [rope, other] = given.map((fields) => parseScaling(config, fields, theta, maxPositionEmbeddings));
  if (other !== undefined && JSON.stringify(rope) !== JSON.stringify(other))
    throw refuse(
      config.file,
      "Expected one RoPE but rope_parameters and rope_scaling describe different ones",
    );
  return rope as RopeConfig;
}

function parseScaling(
  config: Fields,
  rope: Fields,
  theta: number,
  maxPositionEmbeddings: number,
): RopeConfig {
  for (const [key, value] of rope.object)
    if (value instanceof Map || Array.isArray(value))
      throw rope.bad(key, "a plain value (one RoPE for all layers and dimensions)");
  const read = (fields: Fields, key: string) => fields.string(key);
  const type =
    agreed(
      [
        [rope, "rope_type"],
        [rope, "type"],
      ],
      read,
    ) ?? "default";
  if (type === "default") return { theta, attentionFactor: 1 };
  if (type !== "yarn")
    throw refuse(
      config.file,
      `Expected RoPE type 'default' or 'yarn' for ${rope.prefix}rope_type but received ${quote(type)}`,
    );
  const yarn = parseYarn(config, rope, maxPositionEmbeddings);
  return { theta, attentionFactor: Math.fround(attentionFactor(rope, yarn.factor)), yarn };
}

function parseYarn(config: Fields, rope: Fields, maxPositionEmbeddings: number): YarnConfig {
  const key = "original_max_position_embeddings";
  const original = agreed(
    [
      [rope, key],
      [config, key],
    ],
    (fields) => fields.integer(key, 1, kMaxPositions),
  );
  const factor =
    rope.number("factor", 1, 65536) ??
    (original === undefined ? undefined : maxPositionEmbeddings / original);
  if (factor === undefined || factor < 1) throw rope.bad("factor", "a number >= 1");
  // transformers reads 0 and null as "use the default".
  const betaFast = rope.number("beta_fast", 0, 1e6) || 32;
  const betaSlow = rope.number("beta_slow", 0, 1e6) || 1;
  if (betaFast < betaSlow) throw rope.bad("beta_fast", `a number >= beta_slow (${betaSlow})`);
  return {
    factor,
    originalMaxPositionEmbeddings: original ?? maxPositionEmbeddings,
    betaFast,
    betaSlow,
    truncate: rope.boolean("truncate") ?? true,
  };
}

function attentionFactor(rope: Fields, factor: number): number {
  const mscale = rope.number("mscale", 0, 100);
  const mscaleAllDim = rope.number("mscale_all_dim", 0, 100);
  const given = rope.number("attention_factor", 1e-6, 1e6);
  if (given !== undefined) return given;
  return mscale && mscaleAllDim
    ? yarnScale(factor, mscale) / yarnScale(factor, mscaleAllDim)
    : yarnScale(factor);
}

/** The one value that these keys give; undefined if none does; a refusal if two give different ones. */
export function agreed<T>(
  places: [Fields, string][],
  read: (fields: Fields, key: string) => T | undefined,
): T | undefined {
  let first: { value: T; name: string } | undefined;
  for (const [fields, key] of places) {
    const value = read(fields, key);
    const name = fields.prefix + key;
    if (value === undefined) continue;
    first ??= { value, name };
    if (value !== first.value) throw fields.bad(key, `${first.value}, as ${first.name} has it,`);
  }
  return first?.value;
}
