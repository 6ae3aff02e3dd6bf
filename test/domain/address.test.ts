import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressBucketOf } from '../../src/domain/address.ts';

describe('the bucket of an address', () => {
  it('is the address itself for IPv4', () => {
    fc.assert(
      fc.property(fc.ipV4(), (address) => {
        expect(addressBucketOf(address)).toBe(address);
      }),
    );
  });

  it.each([
    ['2001:db8:1:2::1', '2001:db8:1:2::/64'],
    ['2001:db8:1:2:ffff:ffff:ffff:ffff', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::1', '2001:db8:1:2::/64'],
    ['2001:0db8:0001:0002:0000:0000:0000:0001', '2001:db8:1:2::/64'],
    ['2001:db8:1:2:0:0:192.0.2.1', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:db8::1:0:0:0:1', '2001:db8:0:1::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['fe80::1%25eth0', 'fe80:0:0:0::/64'],
    ['1::', '1:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
  ])('is the /64 of an IPv6 address: %s', (address, bucket) => {
    expect(addressBucketOf(address)).toBe(bucket);
  });

  it.each([
    '::ffff:192.0.2.1',
    '::FFFF:192.0.2.1',
    '::ffff:c000:201',
    '0:0:0:0:0:ffff:c000:0201',
    '::ffff:192.0.2.1%eth0',
  ])('is the IPv4 address that came through an IPv6 socket: %s', (address) => {
    expect(addressBucketOf(address)).toBe('192.0.2.1');
  });

  it('is one for every spelling, and for the whole network (invariant 7)', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 8, maxLength: 8 }),
        fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 4, maxLength: 4 }),
        (groups, host) => {
          // Not the IPv4 addresses of other notations.
          fc.pre(groups.slice(0, 4).some((group) => group !== 0));
          const plain = groups.map((group) => group.toString(16)).join(':');
          const padded = groups.map((group) => group.toString(16).padStart(4, '0')).join(':');
          const compressed = new URL(`http://[${plain}]`).hostname.slice(1, -1);
          const neighbour = [...groups.slice(0, 4), ...host].map((group) => group.toString(16)).join(':');
          const bucket = addressBucketOf(plain);
          expect(bucket).toBeDefined();
          for (const spelling of [padded, compressed, plain.toUpperCase(), neighbour, `${compressed}%eth0`]) {
            expect(addressBucketOf(spelling)).toBe(bucket);
          }
          const other = [(groups[0] ?? 0) ^ 1, ...groups.slice(1)].map((group) => group.toString(16)).join(':');
          expect(addressBucketOf(other)).not.toBe(bucket);
        },
      ),
    );
  });

  it.each([
    '',
    'localhost',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '01.2.3.4',
    '1.2.3.4/24',
    ':::',
    '1:2:3',
    '::1::',
    '[::1]',
    '12345::',
    '1.2.3.4:80',
    ' 1.2.3.4',
  ])('is none for %j', (text) => {
    expect(addressBucketOf(text)).toBeUndefined();
  });
});
