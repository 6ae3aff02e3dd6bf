/**
 * Phone numbers and client addresses for a run: every one valid, in a random-looking order that repeats exactly.
 *
 * | pool | size | a value comes again after |
 * |---|---|---|
 * | +998 90 xxx xx xx | 10 000 000 | |
 * | +7 705 xxx xx xx | 10 000 000 | |
 * | +1 212 Nxx xxxx, N = 2…9 | 8 000 000 | 28 000 000 starts, so no limit per number trips |
 * | 100.64.0.0 to 100.79.255.255 (shared space of mobile carriers, RFC 6598) | 1 048 576 | 1 048 576 starts |
 *
 * The order matters: neighbours in time are far apart in every index, so a store touches pages at random, as in life.
 */
const numberPools = [
  { first: 998_900_000_000, size: 10_000_000 },
  { first: 77_050_000_000, size: 10_000_000 },
  { first: 12_122_000_000, size: 8_000_000 },
] as const;

export const numberPoolSize = numberPools.reduce((total, pool) => total + pool.size, 0);
export const addressPoolSize = 2 ** 20;

/** 2^25 is the least power of two above the pool size. */
const numberBits = 25;
const addressBits = 20;

/** The digits of the `index`-th number without `+`, as a number: exact, because E.164 has 15 digits at most. */
export function numberAt(index: number): number {
  let place = index % numberPoolSize;
  // Walks the cycle until it is back inside the pool, which keeps the permutation one.
  do place = permute(place, numberBits);
  while (place >= numberPoolSize);
  for (const pool of numberPools) {
    if (place < pool.size) return pool.first + place;
    place -= pool.size;
  }
  throw new RangeError(`no number at ${index}`);
}

export function addressAt(index: number): string {
  const place = permute(index % addressPoolSize, addressBits);
  return `100.${64 + (place >>> 16)}.${(place >>> 8) & 255}.${place & 255}`;
}

/** A bijection on `bits` bits: odd factors and shifted exclusive-ors can each be undone. */
function permute(value: number, bits: number): number {
  const mask = 2 ** bits - 1;
  let mixed = value ^ (0x5bd1e9 & mask);
  mixed = Math.imul(mixed, 0x2c1b3c6d) & mask;
  mixed ^= mixed >>> 12;
  mixed = Math.imul(mixed, 0x297a2d39) & mask;
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0x1b56c4e9) & mask;
  return mixed ^ (mixed >>> 11);
}
