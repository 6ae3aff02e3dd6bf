/** Crockford's base 32: no `i l o u`, so an id can be read aloud. https://www.crockford.com/base32.html */
const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';
const TIME_CHARS = 10;
const RANDOM_CHARS = 16;
const HEX_CHARS = 32;
const HEX_TIME_CHARS = 12;

export type IdPrefix = 'ver' | 'msg' | 'key';

/**
 * `ver_` and 26 characters: 48 bits of time, then 80 random bits. Ids sort by the moment they were made, so new rows
 * land on the same page of the store and clean-up is a range of the primary key.
 * @param random at least 10 random bytes
 */
export function makeId(prefix: IdPrefix, now: number, random: Uint8Array): string {
  let tail = '';
  // 5 bytes are exactly 8 characters.
  for (let offset = 0; offset < (RANDOM_CHARS / 8) * 5; offset += 5) {
    const high =
      (byteAt(random, offset) << 12) | (byteAt(random, offset + 1) << 4) | (byteAt(random, offset + 2) >>> 4);
    const low =
      ((byteAt(random, offset + 2) & 15) << 16) | (byteAt(random, offset + 3) << 8) | byteAt(random, offset + 4);
    tail += encode20(high) + encode20(low);
  }
  return `${prefix}_${encodeTime(now)}${tail}`;
}

/** The smallest id of that moment: every id made before `now` sorts below it. */
export function firstIdAt(prefix: IdPrefix, now: number): string {
  return `${prefix}_${encodeTime(now)}${'0'.repeat(RANDOM_CHARS)}`;
}

const idPattern = /^(ver|msg|key)_[0-9a-hjkmnp-tv-z]{26}$/;

export function isId(prefix: IdPrefix, text: string): boolean {
  return text.startsWith(prefix) && idPattern.test(text);
}

/** The 128 bits of an id as 32 hexadecimal digits, as other systems write theirs. */
export function hexOfId(id: string): string {
  let bits = 0n;
  for (const character of id.slice(id.indexOf('_') + 1)) bits = bits * 32n + BigInt(alphabet.indexOf(character));
  return bits.toString(16).padStart(HEX_CHARS, '0');
}

/** The other way round. Undefined for what are not 32 hexadecimal digits; whether there is such an id is another question. */
export function idOfHex(prefix: IdPrefix, hex: string): string | undefined {
  if (!/^[0-9a-f]{32}$/i.test(hex)) return undefined;
  let bits = BigInt(`0x${hex}`);
  let text = '';
  for (let i = 0; i < TIME_CHARS + RANDOM_CHARS; i += 1) {
    text = alphabet.charAt(Number(bits % 32n)) + text;
    bits /= 32n;
  }
  return `${prefix}_${text}`;
}

/** When an id was made. */
export function timeOfId(id: string): number {
  return Number.parseInt(hexOfId(id).slice(0, HEX_TIME_CHARS), 16);
}

let lastTime = -1;
let lastTimeText = '';

function encodeTime(now: number): string {
  if (now === lastTime) return lastTimeText;
  let rest = now;
  let text = '';
  for (let i = 0; i < TIME_CHARS; i += 1) {
    text = alphabet.charAt(rest % 32) + text;
    rest = Math.floor(rest / 32);
  }
  lastTime = now;
  lastTimeText = text;
  return text;
}

function encode20(bits: number): string {
  return (
    alphabet.charAt((bits >>> 15) & 31) +
    alphabet.charAt((bits >>> 10) & 31) +
    alphabet.charAt((bits >>> 5) & 31) +
    alphabet.charAt(bits & 31)
  );
}

function byteAt(bytes: Uint8Array, index: number): number {
  const byte = bytes[index];
  if (byte === undefined) throw new RangeError(`an id takes 10 random bytes, got ${bytes.length}`);
  return byte;
}
