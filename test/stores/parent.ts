// What a child process has of its parent, see `child.ts`: a task to begin with, and a line on stdin when it may go on. It says on
// stdout what it came to, one JSON value a line.
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';

const input = createInterface({ input: process.stdin });

/** Written before the call returns: what is said was said, also when the process is killed the moment after. */
export function say(value: unknown): void {
  writeSync(1, `${JSON.stringify(value)}\n`);
}

export function readTask<Task>(): Task {
  return JSON.parse(process.argv[2] ?? '') as Task;
}

/** All arrive here before any goes on: the parent says when. */
export async function barrier(): Promise<void> {
  say('ready');
  for await (const line of input) if (line === 'go') break;
}

/** Listens no more, so that the process can end. */
export function leaveParent(): void {
  input.close();
}
