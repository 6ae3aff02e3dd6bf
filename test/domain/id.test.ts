import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { firstIdAt, hexOfId, idOfHex, isId, makeId, timeOfId } from '../../src/domain/id.ts';

const T0 = Date.UTC(2025, 10, 20);
const random = fc.uint8Array({ minLength: 10, maxLength: 10 });
// 48 bits of time last until the year 10889.
const moment = fc.integer({ min: 0, max: 2 ** 48 - 1 });

describe('an id', () => {
  it('is its prefix and 26 characters that can be read aloud', () => {
    fc.assert(
      fc.property(moment, random, (now, bytes) => {
        const id = makeId('ver', now, bytes);
        expect(id).toMatch(/^ver_[0-9abcdefghjkmnpqrstvwxyz]{26}$/);
        expect(isId('ver', id)).toBe(true);
        expect(isId('msg', id)).toBe(false);
      }),
    );
  });

  it('stays the same for the same moment and bytes', () => {
    expect(makeId('ver', T0, Buffer.alloc(10))).toBe('ver_01kaf8z4000000000000000000');
    expect(makeId('msg', 0, Buffer.alloc(10, 255))).toBe('msg_0000000000zzzzzzzzzzzzzzzz');
  });

  it('sorts by the moment it was made at', () => {
    fc.assert(
      fc.property(moment, moment, random, random, (a, b, bytesA, bytesB) => {
        fc.pre(a !== b);
        expect(makeId('msg', a, bytesA) < makeId('msg', b, bytesB)).toBe(a < b);
      }),
    );
  });

  it('made at a moment is not below the first of that moment, and below the first of the next', () => {
    fc.assert(
      fc.property(moment, random, (now, bytes) => {
        const id = makeId('ver', now, bytes);
        expect(id >= firstIdAt('ver', now)).toBe(true);
        expect(id < firstIdAt('ver', now + 1)).toBe(true);
      }),
    );
  });

  it('keeps every bit of its randomness', () => {
    const base = makeId('ver', T0, new Uint8Array(10));
    const ids = new Set([base]);
    for (let bit = 0; bit < 80; bit += 1) {
      const bytes = new Uint8Array(10);
      bytes[Math.floor(bit / 8)] = 1 << (bit % 8);
      ids.add(makeId('ver', T0, bytes));
    }
    expect(ids.size).toBe(81);
  });

  it('is 32 hexadecimal digits as well, and the same id again when read back', () => {
    fc.assert(
      fc.property(moment, random, (now, bytes) => {
        const id = makeId('ver', now, bytes);
        const hex = now.toString(16).padStart(12, '0') + Buffer.from(bytes).toString('hex');
        expect(hexOfId(id)).toBe(hex);
        expect(idOfHex('ver', hex)).toBe(id);
        expect(idOfHex('ver', hex.toUpperCase())).toBe(id);
        expect(timeOfId(id)).toBe(now);
      }),
    );
    for (const hex of [
      '',
      '0'.repeat(31),
      '0'.repeat(33),
      `${'0'.repeat(31)}g`,
      `0x${'0'.repeat(30)}`,
      `${'0'.repeat(32)}\n`,
    ])
      expect(idOfHex('ver', hex), hex).toBeUndefined();
  });

  it('is not made of too few bytes', () => {
    expect(() => makeId('ver', T0, new Uint8Array(9))).toThrow(RangeError);
  });

  it.each([
    '',
    'ver_',
    'ver_0',
    'VER_00000000000000000000000000',
    'ver_0000000000000000000000000l',
    'ver_0000000000000000000000000\n',
    'ver-00000000000000000000000000',
    'ver_000000000000000000000000000',
  ])('is not %j', (text) => {
    expect(isId('ver', text)).toBe(false);
  });
});
