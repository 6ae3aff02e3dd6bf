import { type ScriptName, scriptOf } from '../src/stores/redis/scripts.ts';
import type { RoundTrip, WireReader } from './counting-proxy.ts';

/**
 * Reads a client's side of Redis' protocol: each command is an array of strings with their lengths before them.
 * https://redis.io/docs/latest/develop/reference/protocol-spec/
 * @param scripts are told by their names, all others as EVALSHA
 */
export function readRedis(scripts: readonly ScriptName[]): WireReader {
  const namesBySha = new Map(scripts.map((name) => [scriptOf(name).sha, name]));
  let pending = Buffer.alloc(0);
  return (bytes) => {
    pending = Buffer.concat([pending, bytes]);
    const asked: RoundTrip[] = [];
    for (;;) {
      const command = readCommand(pending);
      if (command === undefined) return asked;
      const [name = '', sha = ''] = command.words;
      asked.push([namesBySha.get(sha) ?? name.toUpperCase()]);
      pending = pending.subarray(command.end);
    }
  };
}

type Command = { readonly words: readonly string[]; readonly end: number };

/** The first command, undefined as long as it is not whole. */
function readCommand(bytes: Buffer): Command | undefined {
  const count = readLength(bytes, 0);
  if (count === undefined) return undefined;
  const words: string[] = [];
  let at = count.end;
  for (let word = 0; word < count.value; word++) {
    const length = readLength(bytes, at);
    if (length === undefined || bytes.length < length.end + length.value + 2) return undefined;
    words.push(bytes.toString('latin1', length.end, length.end + length.value));
    at = length.end + length.value + 2;
  }
  return { words, end: at };
}

/** `*3\r\n` or `$5\r\n` */
function readLength(bytes: Buffer, at: number): { readonly value: number; readonly end: number } | undefined {
  const end = bytes.indexOf('\r\n', at);
  return end < 0 ? undefined : { value: Number(bytes.toString('latin1', at + 1, end)), end: end + 2 };
}
