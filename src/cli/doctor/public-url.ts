import { BlockList, isIP } from 'node:net';
import type { Config } from '../../config/config.ts';
import { type Finding, fault, fine, skipped } from './finding.ts';

/** Addresses that nobody outside reaches: RFC 1918, 3927, 4193, 6598, loopback. */
const unreachable = new BlockList();
for (const [network, bits] of [
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['100.64.0.0', 10],
] as const)
  unreachable.addSubnet(network, bits, 'ipv4');
for (const [network, bits] of [
  ['::1', 128],
  ['fc00::', 7],
  ['fe80::', 10],
] as const)
  unreachable.addSubnet(network, bits, 'ipv6');

/** Providers post delivery reports to PUBLIC_URL. @param reporting ids of those that would */
export function publicUrlFinding(
  { publicUrl, mode }: Pick<Config, 'publicUrl' | 'mode'>,
  reporting: readonly string[],
): Finding {
  const names = reporting.join(', ');
  if (publicUrl === undefined) {
    if (reporting.length === 0) return skipped('public-url', 'not set; no configured provider posts delivery reports');
    const detail = `PUBLIC_URL is not set, so ${names} cannot post delivery reports`;
    return mode === 'development'
      ? skipped('public-url', `${detail} (development mode)`)
      : fault(
          'public-url',
          detail,
          'Set PUBLIC_URL to the address of this service as seen from outside, e.g. https://verify.example.com.',
        );
  }
  const name = new URL(publicUrl).hostname.replace(/^\[|\]$/g, '');
  const family = isIP(name);
  const isInside = name === 'localhost' || (family !== 0 && unreachable.check(name, family === 4 ? 'ipv4' : 'ipv6'));
  if (isInside && reporting.length > 0) {
    return fault(
      'public-url',
      `${publicUrl} cannot be reached from outside, where ${names} would post delivery reports`,
      'Set PUBLIC_URL to an address of the internet, or unset it.',
    );
  }
  return fine('public-url', reporting.length === 0 ? publicUrl : `${publicUrl}, for the delivery reports of ${names}`);
}
