/**
 * Malformed and unsupported config.json and generation_config.json for the corpus. Test support, pure.
 */
import { type BadCase, badCase } from "./corpus-case.js";
import { type Entry, tinyConfig, tinyFiles } from "./tiny.js";

export function configCases(): BadCase[] {
  return [...sizeCases(), ...featureCases(), ...ropeCases(), ...textCases(), ...generationCases()];
}

const kFile = /[/]config\.json: /;

function changed(overrides: Record<string, unknown>, ...message: RegExp[]): BadCase {
  const name = JSON.stringify(overrides, (_, value) => (value === undefined ? "(absent)" : value));
  const config = JSON.stringify(tinyConfig(overrides));
  return badCase(`config ${name.slice(0, 220)}`, tinyFiles({ "config.json": config }), kFile, ...message);
}

function sizeCases(): BadCase[] {
  const cases: BadCase[] = [];
  const sizes = [
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
  ];
  for (const key of sizes)
    for (const value of [undefined, null, 0, -1, 1.5, 1e9, 2 ** 53, "8", [8], true, {}])
      cases.push(changed({ [key]: value }, new RegExp(`for ${key} but received`)));
  for (const value of [0, -2, 1, 3, 127, 514, 1e9, 2.5, "4", [4]])
    cases.push(changed({ head_dim: value }, /for head_dim but received/));
  for (const value of [undefined, null, 0, -1e-6, 1, "1e-6", [], true])
    cases.push(changed({ rms_norm_eps: value }, /for rms_norm_eps but received/));
  for (const value of [3, 4])
    cases.push(changed({ num_key_value_heads: value }, /a divisor of num_attention_heads \(2\)/));
  // Right in themselves, but not what the weights are.
  cases.push(
    changed({ hidden_size: 8 }, /never/),
    changed({ vocab_size: 12 }, /never/),
    changed({ head_dim: 6 }, /never/),
    changed({ head_dim: undefined }, /never/),
    changed({ num_key_value_heads: 2 }, /never/),
    changed({ intermediate_size: 12 }, /never/),
    changed({ num_hidden_layers: 1, layer_types: undefined }, /never/),
    changed({ num_hidden_layers: 3, layer_types: undefined }, /never/),
    changed({ num_hidden_layers: 1024, layer_types: undefined }, /never/),
  );
  return cases.map((one) =>
    one.message.some(({ source }) => source === "never")
      ? {
          ...one,
          message: [/model\.safetensors: /, /tensor '.*'/, /Expected shape|is missing|Expected only/],
        }
      : one,
  );
}

function featureCases(): BadCase[] {
  const cases: BadCase[] = [];
  for (const value of [undefined, null, "qwen2", "qwen3_moe", "llama", "Qwen3", "", 3, ["qwen3"]])
    cases.push(changed({ model_type: value }, /for model_type but received/));
  for (const value of [
    ["Qwen3MoeForCausalLM"],
    ["Qwen2ForCausalLM"],
    ["Qwen3ForSequenceClassification"],
    ["Qwen3ForCausalLM", "Qwen3Model"],
    "Qwen3ForCausalLM",
    [1],
    {},
  ])
    cases.push(changed({ architectures: value }, /for architectures but received/));
  for (const key of ["attention_bias", "use_sliding_window"])
    for (const value of [true, "false", 1, 0])
      cases.push(changed({ [key]: value }, new RegExp(`for ${key} but received`)));
  for (const value of ["gelu", "SiLU", "swish", true])
    cases.push(changed({ hidden_act: value }, /for hidden_act but received/));
  for (const value of ["true", 1, {}])
    cases.push(changed({ tie_word_embeddings: value }, /for tie_word_embeddings but received/));
  for (const value of ["float64", "int8", "float8_e4m3fn", "auto", "BF16"]) {
    cases.push(changed({ dtype: value }, /Expected dtype 'bfloat16'.*but received/));
    cases.push(changed({ dtype: undefined, torch_dtype: value }, /Expected dtype 'bfloat16'.*but received/));
  }
  cases.push(
    changed({ torch_dtype: "float16" }, /for torch_dtype but received 'float16'/, /as dtype has it/),
  );
  cases.push(changed({ dtype: 16 }, /for dtype but received/));
  for (const value of [{ quant_method: "gptq", bits: 4 }, { quant_method: "fp8" }, {}, true])
    cases.push(changed({ quantization_config: value }, /Expected no quantization for quantization_config/));
  cases.push(changed({ quantization: { bits: 4 } }, /Expected no quantization for quantization/));
  for (const value of [
    ["full_attention"],
    ["full_attention", "full_attention", "full_attention"],
    [],
    "full_attention",
    {},
    [1, 2],
  ])
    cases.push(changed({ layer_types: value }, /for layer_types but received/));
  for (const other of ["sliding_attention", "linear_attention", "Full_attention"])
    cases.push(
      changed(
        { layer_types: ["full_attention", other] },
        new RegExp(`in layer_types but received '${other}'`),
      ),
    );
  for (const value of ["2", -1, 1.5, [2, "3"], [[2]], 2 ** 31, { a: 1 }, true])
    cases.push(changed({ eos_token_id: value }, /for eos_token_id but received/));
  return cases;
}

function ropeCases(): BadCase[] {
  const cases: BadCase[] = [];
  const old = (rope_scaling: unknown, rope_theta: unknown = 10000) => ({
    rope_parameters: undefined,
    rope_theta,
    rope_scaling,
  });
  const yarn = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 16 };
  for (const value of [undefined, null, 0, 1, -5, "10000", 1e300, [1]]) {
    cases.push(
      changed({ rope_parameters: { rope_type: "default", rope_theta: value } }, /rope_theta but received/),
    );
    if (value !== undefined) cases.push(changed(old(null, value), /rope_theta but received/));
  }
  cases.push(
    changed(
      { rope_parameters: undefined },
      /Expected a number \(here or in rope_parameters\) for rope_theta/,
    ),
  );
  cases.push(
    changed({ rope_theta: 1e6 }, /for rope_parameters\.rope_theta but received/, /as rope_theta has it/),
  );
  for (const value of ["x", 1, [], true]) {
    cases.push(changed({ rope_parameters: value }, /Expected an object for rope_parameters/));
    cases.push(changed(old(value), /Expected an object for rope_scaling/));
  }
  for (const type of ["linear", "dynamic", "longrope", "llama3", "mrope", "su", "YaRN", ""]) {
    cases.push(
      changed({ rope_parameters: { rope_theta: 10000, rope_type: type, factor: 2 } }, /'default' or 'yarn'/),
    );
    cases.push(changed(old({ type, factor: 2 }), /'default' or 'yarn'/));
  }
  cases.push(changed(old({ rope_type: 4 }), /for rope_scaling\.rope_type but received/));
  cases.push(changed(old({ ...yarn, type: "linear" }), /for rope_scaling\.type but received/));
  for (const factor of [0, 0.5, -4, "4", 1e9, [4]])
    cases.push(changed(old({ ...yarn, factor }), /for rope_scaling\.factor but received/));
  cases.push(changed(old({ rope_type: "yarn" }), /for rope_scaling\.factor but received nothing/));
  for (const value of [0, -1, 1.5, "16", 2 ** 40])
    cases.push(
      changed(
        old({ ...yarn, original_max_position_embeddings: value }),
        /original_max_position_embeddings but received/,
      ),
    );
  for (const key of ["beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor"])
    for (const value of [-1, "1", true])
      cases.push(
        changed(old({ ...yarn, [key]: value }), new RegExp(`for rope_scaling\\.${key} but received`)),
      );
  cases.push(
    changed(old({ ...yarn, beta_fast: 1, beta_slow: 32 }), /for rope_scaling\.beta_fast but received/),
  );
  for (const value of ["true", 1])
    cases.push(changed(old({ ...yarn, truncate: value }), /for rope_scaling\.truncate but received/));
  cases.push(
    changed(old({ ...yarn, mrope_section: [1, 1] }), /a plain value.*for rope_scaling\.mrope_section/),
  );
  cases.push(
    changed(
      { rope_parameters: { full_attention: { rope_theta: 1e4 } }, rope_theta: 1e4 },
      /a plain value.*for rope_parameters\.full_attention/,
    ),
  );
  for (const value of [0.5, 2, "1"])
    cases.push(changed({ partial_rotary_factor: value }, /for partial_rotary_factor but received/));
  cases.push(changed({ rope_scaling: yarn }, /rope_parameters and rope_scaling describe different ones/));
  cases.push(
    changed(
      old({ ...yarn, factor: 60000, original_max_position_embeddings: 60000 }),
      /at most 16777216 positions/,
    ),
  );
  return cases;
}

/** The text itself broken: both files go through one parser, so config.json stands for both here. */
function textCases(): BadCase[] {
  const text = JSON.stringify(tinyConfig());
  const cases: BadCase[] = [];
  const add = (name: string, entry: Entry, ...message: RegExp[]) =>
    cases.push(badCase(`config.json: ${name}`, tinyFiles({ "config.json": entry }), kFile, ...message));
  for (const literal of ["NaN", "Infinity", "-Infinity", "1e400", "01", ".5", "1.", "-", "nan", "None"])
    add(
      `rms_norm_eps ${literal}`,
      text.replace('"rms_norm_eps":0.000001', `"rms_norm_eps":${literal}`),
      /'rms_norm_eps'/,
    );
  for (const whole of [
    "",
    " ",
    "null",
    "[]",
    "1",
    '"x"',
    "true",
    "{",
    "}",
    "{} {}",
    "{}x",
    "\uFEFF{}",
    "{'a':1}",
    '{"a":1,}',
    '{"a"}',
    '{"a":}',
    "{,}",
    "// c\n{}",
  ])
    add(`whole text ${JSON.stringify(whole)}`, whole, /Expected/);
  add("empty object", "{}", /for model_type but received nothing/);
  add("a key twice", text.replace("{", '{"hidden_size":8,'), /'hidden_size'.*comes twice/);
  add(
    "not UTF-8",
    Buffer.concat([Buffer.from(text.slice(0, -1)), Buffer.from([0x2c, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])]),
    /not valid UTF-8/,
  );
  add("UTF-16", Buffer.from(text, "utf16le"), /Expected/);
  add(
    "10,000 deep",
    text.replace("{", `{"x":${"[".repeat(10_000)}${"]".repeat(10_000)},`),
    /at most 64 levels/,
  );
  add("over 4 MB", { sparse: Buffer.from(text), sizeBytes: 4 * 1024 * 1024 + 1 }, /at most 4194304 bytes/);
  add("5 GB", { sparse: Buffer.from(text), sizeBytes: 5_000_000_000 }, /at most 4194304 bytes/);
  return cases;
}

function generationCases(): BadCase[] {
  const cases: BadCase[] = [];
  const file = /generation_config\.json: /;
  const wrong: Record<string, unknown[]> = {
    do_sample: ["false", 0, 1, []],
    temperature: ["0.6", -1, true, [], 1e9],
    top_k: ["20", -1, 1.5, true, 2 ** 40],
    top_p: ["0.9", -0.1, 1.1, true],
    min_p: ["0", -0.1, 1.1, {}],
    repetition_penalty: ["1", 0, -1, true],
    eos_token_id: ["2", -1, 1.5, [2, null], [[2]]],
  };
  for (const [key, values] of Object.entries(wrong))
    for (const value of values)
      cases.push(
        badCase(
          `generation_config ${key} ${JSON.stringify(value)}`,
          tinyFiles({ "generation_config.json": JSON.stringify({ [key]: value }) }),
          file,
          new RegExp(`for ${key} but received`),
        ),
      );
  for (const text of ["", "[]", "null", "{", '{"top_k":1,"top_k":2}', '{"temperature":NaN}'])
    cases.push(
      badCase(
        `generation_config ${JSON.stringify(text)}`,
        tinyFiles({ "generation_config.json": text }),
        file,
        /Expected/,
      ),
    );
  return cases;
}
