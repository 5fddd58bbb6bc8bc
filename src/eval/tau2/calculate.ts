import { valueError } from "../../python/types.js";
import { tool } from "./toolkit.js";
export const calculate = tool(["expression"], () => { throw valueError("todo"); });
