import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';

/**
 * How a code gets from the no-op provider to the load generator: an append-only file in memory (`/dev/shm`), 16 bytes
 * a message: the number's digits and the code's, each as a float64. Production gives no code away, so the bench needs
 * a way of its own, and this one costs the server least: one `write` into the page cache for all messages of a turn,
 * no wake-up of another process, nothing left over in the event loop. docs/performance.md says what it costs.
 */
const recordBytes = 16;
const maxRecords = 1024;

export type CodeWriter = (to: string, code: string) => void;

export function openCodeWriter(path: string): CodeWriter {
  const file = openSync(path, 'a');
  const records = new Float64Array(2 * maxRecords);
  let count = 0;
  const flush = (): void => {
    if (count > 0) writeSync(file, records, 0, count * recordBytes);
    count = 0;
  };
  return (to, code) => {
    // Comes after every promise that is settled by now, and before anything else: the messages of one group commit
    // go together, and still before the answers to their starts.
    if (count === 0) process.nextTick(flush);
    records[2 * count] = Number(to.slice(1));
    // The 1 in front keeps leading zeros.
    records[2 * count + 1] = Number(`1${code}`);
    count += 1;
    if (count === maxRecords) flush();
  };
}

export class CodeReader {
  readonly #file: number;
  readonly #records = new Float64Array(8192);
  readonly #codes = new Map<number, number>();
  #position: number;

  /** Begins where the file ends now: what went before belongs to an earlier run. */
  constructor(path: string) {
    this.#file = openSync(path, 'r');
    this.#position = fstatSync(this.#file).size;
  }

  /** The code that went to the number, once; undefined as long as none has come. */
  take(number: number): string | undefined {
    let code = this.#codes.get(number);
    if (code === undefined) {
      this.#readOn();
      code = this.#codes.get(number);
      if (code === undefined) return undefined;
    }
    this.#codes.delete(number);
    return String(code).slice(1);
  }

  close(): void {
    closeSync(this.#file);
  }

  #readOn(): void {
    for (;;) {
      // The size of a file grows after its bytes are there, so what is read is whole; the rest of a record waits.
      const bytes = readSync(this.#file, this.#records, 0, this.#records.byteLength, this.#position);
      const count = Math.floor(bytes / recordBytes);
      for (let at = 0; at < count; at++) {
        this.#codes.set(this.#records[2 * at] ?? 0, this.#records[2 * at + 1] ?? 0);
      }
      this.#position += count * recordBytes;
      if (bytes < this.#records.byteLength) return;
    }
  }
}
