import { memory } from "../memory.js";

export const nowMs = () => BigInt(memory.nowMs);
