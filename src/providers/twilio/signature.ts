import { createHash } from 'node:crypto';
import type { ReportRequest } from '../../domain/provider.ts';
import { fieldsOf } from '../../provider-kit/http-client.ts';
import { headerOf, jsonOf } from '../../provider-kit/reading.ts';
import { hmac, isSame } from '../../provider-kit/signature.ts';

/**
 * The fields of a webhook of Twilio's once its signature is right, of a form or of JSON. A signature has no time in it, so
 * an old report can be played again; that does no harm, as states only move forward.
 * Source: https://www.twilio.com/docs/usage/webhooks/webhooks-security (read 2026-11-20).
 * @param tokens auth tokens, any of which may have signed
 */
export function readTwilioWebhook(
  request: ReportRequest,
  tokens: readonly string[],
): Readonly<Record<string, unknown>> | 'forged' | 'malformed' {
  const bodyHash = URL.canParse(request.url) ? new URL(request.url).searchParams.get('bodySHA256') : null;
  if (bodyHash === null) {
    const form = new URLSearchParams(Buffer.from(request.rawBody).toString('utf8'));
    return isSigned(request, form, tokens) ? Object.fromEntries(form) : 'forged';
  }
  // JSON: the signature covers the address alone, and the address the hash of the body.
  const hash = createHash('sha256').update(request.rawBody).digest('hex');
  if (!isSigned(request, new URLSearchParams(), tokens) || !isSame(bodyHash, hash)) return 'forged';
  const json = jsonOf(request);
  return json === undefined ? 'malformed' : fieldsOf(json);
}

function isSigned(request: ReportRequest, form: URLSearchParams, tokens: readonly string[]): boolean {
  const given = headerOf(request, 'x-twilio-signature');
  if (given === undefined) return false;
  // A repeated field counts once for each of its different values.
  const fields = [...new Set(form.keys())]
    .sort()
    .map((name) => [name, [...new Set(form.getAll(name))].sort()] as const);
  const data = fields.flatMap(([name, values]) => values.map((value) => name + value)).join('');
  return urlsThatMayBeSigned(request.url).some((url) =>
    tokens.some((token) => isSame(given, hmac('sha1', token, url + data, 'base64'))),
  );
}

/** Twilio is not consistent in whether the port is part of what it signs, so its own SDK tries both; so do we. */
function urlsThatMayBeSigned(url: string): string[] {
  const match = /^(https?:\/\/)((?:[^/?#]*@)?(?:\[[^\]]*\]|[^/?#:]*))(:\d*)?(.*)$/is.exec(url);
  if (match === null) return [url];
  const [, scheme = '', host = '', port, rest = ''] = match;
  const defaultPort = scheme.toLowerCase() === 'https://' ? ':443' : ':80';
  return [scheme + host + rest, scheme + host + (port ?? defaultPort) + rest];
}
