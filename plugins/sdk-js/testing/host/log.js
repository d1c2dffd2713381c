import { memory } from "../memory.js";

export function write(level, message) {
  memory.lines.push({ level, message });
}
