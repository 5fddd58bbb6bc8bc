/**
 * Sharded checkpoints whose index is malformed or does not fit its shards, for the corpus. Test support, pure.
 */
import { type BadCase, badCase, inFile } from "./corpus-case.js";
import {
  type Entry,
  type Files,
  kIndex,
  safetensors,
  shardedFiles,
  tinySpecs,
  tinyWeightMap,
} from "./tiny.js";

const kShard1 = "model-00001-of-00002.safetensors";
const kShard2 = "model-00002-of-00002.safetensors";

export function indexCases(): BadCase[] {
  const withMap = (change: (map: Record<string, unknown>) => void) => {
    const map: Record<string, unknown> = tinyWeightMap();
    change(map);
    return shardedFiles({ [kIndex]: JSON.stringify({ weight_map: map }) });
  };
  const norm = "model.norm.weight";
  const cases = [
    "../model.safetensors",
    "..",
    ".",
    "",
    "/etc/passwd",
    "/model.safetensors",
    "sub/model.safetensors",
    "./model-00001-of-00002.safetensors",
    "..\\model.safetensors",
    "C:\\model.safetensors",
    "C:model.safetensors",
    "model.safetensors/",
    "model\u0000.safetensors",
    "pytorch_model.bin",
    "model.pt",
    "config.json",
    "https://example.com/model.safetensors",
    7,
    null,
    true,
    ["model.safetensors"],
    { file: "model.safetensors" },
  ].map((shard) =>
    badCase(
      `index names ${JSON.stringify(shard)}`,
      withMap((map) => {
        map[norm] = shard;
      }),
      inFile(kIndex),
      /tensor 'model\.norm\.weight'/,
      /Expected a file name ending in \.safetensors/,
    ),
  );
  const text = (name: string, index: Entry, ...message: RegExp[]) =>
    cases.push(badCase(name, shardedFiles({ [kIndex]: index }), inFile(kIndex), ...message));
  for (const [name, value] of [
    ["absent", undefined],
    ["null", null],
    ["an array", []],
    ["empty", {}],
    ["a string", "x"],
  ] as const)
    text(`weight_map ${name}`, JSON.stringify({ weight_map: value }), /weight_map/);
  text("index empty", "", /Expected a JSON value/);
  text("index an array", "[]", /Expected a JSON object/);
  text("index truncated", '{"weight_map": {"a": "b.safetensors"', /end of the text/);
  text(
    "index with one tensor twice",
    '{"weight_map":{"a":"b.safetensors","a":"c.safetensors"}}',
    /'a'.*comes twice/,
  );
  text("index a directory", { directory: true }, /found a directory/);
  text("index a dangling link", { link: "nowhere" }, /symbolic link whose target does not exist/);
  cases.push(
    badCase(
      "index names a shard that is absent",
      withMap((m) => Object.assign(m, { ghost: "model-00003-of-00003.safetensors" })),
      /model-00003-of-00003\.safetensors: Expected this file but it does not exist/,
    ),
    badCase(
      "index puts a tensor in the wrong shard",
      withMap((m) => Object.assign(m, { [norm]: kShard1 })),
      inFile(kShard2),
      /tensor 'model\.norm\.weight'/,
      /in 'model-00001/,
    ),
    badCase(
      "shard holds what the index does not list",
      withMap((m) => void delete m[norm]),
      inFile(kShard2),
      /tensor 'model\.norm\.weight'/,
      /nowhere/,
    ),
    badCase(
      "index lists what no shard holds",
      withMap((m) => Object.assign(m, { ghost: kShard1 })),
      inFile(kShard1),
      /tensor 'ghost' is missing/,
    ),
    badCase("shard missing", shardedFiles({ [kShard2]: undefined }), inFile(kShard2), /does not exist/),
    badCase("shard empty", shardedFiles({ [kShard2]: "" }), inFile(kShard2), /at least 8 bytes/),
    badCase(
      "shard a directory",
      shardedFiles({ [kShard2]: { directory: true } }),
      inFile(kShard2),
      /found a directory/,
    ),
    badCase(
      "shard a dangling link",
      shardedFiles({ [kShard1]: { link: "blob" } }),
      inFile(kShard1),
      /target does not exist/,
    ),
    badCase(
      "shards swapped",
      shardedFiles({ [kShard1]: shardedFiles()[kShard2], [kShard2]: shardedFiles()[kShard1] }),
      inFile(kShard1),
      /Expected what .* lists for this shard/,
    ),
    badCase(
      "one tensor in two shards",
      shardedFiles({ [kShard1]: safetensors([...tinySpecs().slice(0, 12), tinySpecs().at(-1)!]) }),
      inFile(kShard1),
      /tensor 'model\.norm\.weight'/,
    ),
    badCase(
      "index complete but a tensor of the model absent",
      dropped(norm),
      inFile(kIndex),
      /tensor 'model\.norm\.weight' is missing/,
    ),
  );
  for (const keep of [0, 4, 8, 100, -1]) {
    const shard = shardedFiles()[kShard2] as Buffer;
    cases.push(
      badCase(
        `shard truncated to ${keep}`,
        shardedFiles({ [kShard2]: shard.subarray(0, keep) }),
        inFile(kShard2),
        /Expected/,
      ),
    );
  }
  return cases;
}

function dropped(name: string): Files {
  const specs = tinySpecs()
    .slice(12)
    .filter((spec) => spec.name !== name);
  const map = tinyWeightMap();
  delete map[name];
  return shardedFiles({ [kShard2]: safetensors(specs), [kIndex]: JSON.stringify({ weight_map: map }) });
}
