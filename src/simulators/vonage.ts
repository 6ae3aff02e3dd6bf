import { createHash, createHmac, randomUUID } from 'node:crypto';
import { startHttpSimulator } from './http-simulator.ts';
import type { Answer, PostedReport, SimulatorDefinition } from './simulator-kit.ts';

const API_KEY = 'abcd1234';
const API_SECRET = 'test-vonage-secret';
const SIGNATURE_SECRET = 'test-vonage-signature-secret';
const PRICE = '0.03330000';

const refusal = (status: string, text: string): Answer => ({
  status: 200,
  body: { 'message-count': '1', messages: [{ status, 'error-text': text }] },
});

/**
 * The `sig` of a delivery receipt, by the method that the account is set to.
 * Source: https://developer.vonage.com/en/getting-started/concepts/signing-messages (read 2026-11-20).
 */
export function signVonageReport(
  method: 'md5hash' | 'md5' | 'sha1' | 'sha256' | 'sha512',
  secret: string,
  parameters: Readonly<Record<string, string>>,
): string {
  let data = '';
  for (const [name, value] of Object.entries(parameters).sort(([a], [b]) => (a < b ? -1 : 1)))
    data += `&${name}=${value.replaceAll('&', '_').replaceAll('=', '_')}`;
  if (method === 'md5hash') return createHash('md5').update(`${data}${secret}`).digest('hex');
  return createHmac(method, secret).update(data).digest('hex').toUpperCase();
}

/** Answers like `rest.nexmo.com`. Written against the vendor's documentation, not against our provider file. */
export const vonageSimulator: SimulatorDefinition = {
  id: 'vonage',
  environment: (url) => ({
    VONAGE_BASE_URL: url,
    VONAGE_API_KEY: API_KEY,
    VONAGE_API_SECRET: API_SECRET,
    VONAGE_FROM: 'Acme',
    VONAGE_SIGNATURE_SECRET: SIGNATURE_SECRET,
    VONAGE_SIGNATURE_METHOD: 'sha256',
  }),
  start: (options) =>
    startHttpSimulator(
      {
        delivery: [{ status: 'buffered' }, { status: 'delivered' }],
        refusals: {
          'bad-number': refusal('33', 'Number De-activated'),
          'refuse-inside-2xx': refusal('6', 'Unroutable message - rejected'),
          throttle: refusal('1', 'Throughput Rate Exceeded - please wait [ 250 ] and retry'),
          credentials: refusal('4', 'Bad Credentials'),
          balance: refusal('9', 'Quota Exceeded - rejected'),
          content: refusal('15', 'Illegal Sender Address - rejected'),
        },
        answer: ({ method, path, headers, form }, take) => {
          const login = `Basic ${Buffer.from(`${API_KEY}:${API_SECRET}`).toString('base64')}`;
          const isKnown =
            headers.authorization === login || (form['api_key'] === API_KEY && form['api_secret'] === API_SECRET);
          if (path === '/account/get-balance')
            return isKnown
              ? { status: 200, body: { value: 10.28, autoReload: false } }
              : {
                  status: 401,
                  type: 'application/problem+json',
                  body: {
                    type: 'https://developer.vonage.com/api-errors/#unathorized',
                    title: 'You did not provide correct credentials.',
                    instance: 'bf0ca0bf927b3b52e3cb03217e1a1ddf',
                  },
                };
          if (method !== 'POST' || path !== '/sms/json') return { status: 404, body: 'Not Found' };
          if (!isKnown) return refusal('4', 'Bad Credentials');
          const { from, to = '', text = '', type = 'text', ttl, callback } = form;
          if (from === undefined || to === '' || text === '') return refusal('2', 'Missing Params');
          if (!/^\d{7,15}$/.test(to)) return refusal('3', 'to address is not numeric');
          if (ttl !== undefined && !(Number(ttl) >= 20_000 && Number(ttl) <= 604_800_000))
            return refusal('3', 'Invalid value for param: ttl');
          if (callback !== undefined && callback.length > 100) return refusal('23', 'Invalid Callback URL');
          const ids = Array.from({ length: segmentsOf(text, type) }, () => randomUUID());
          const fields = form['client-ref'] === undefined ? {} : { 'client-ref': form['client-ref'] };
          // What is outside the alphabet and not announced arrives as question marks.
          const arrives = type === 'unicode' ? text : text.replace(/[^\p{ASCII}]/gu, '?');
          take({ id: ids[0] ?? '', to: `+${to}`, text: arrives, reportUrl: callback, fields: { from, ...fields } });
          const segment = {
            to,
            status: '0',
            'remaining-balance': '10.24670000',
            'message-price': PRICE,
            network: '43404',
          };
          const messages = ids.map((id) => ({ ...segment, 'message-id': id, ...fields }));
          return { status: 200, body: { 'message-count': String(ids.length), messages } };
        },
        withoutId: ({ status }) => ({ status, body: { 'message-count': '1', messages: [{ status: '0' }] } }),
        report: ({ id, to, reportUrl, fields }, { status, errorCode = 0, isForged }) => {
          if (reportUrl === undefined) return undefined;
          const at = new Date();
          const { from, ...reference } = fields as Record<string, string>;
          const receipt = {
            msisdn: to.slice(1),
            to: from ?? '',
            'network-code': '43404',
            messageId: id,
            price: PRICE,
            status,
            scts: '2611201500',
            'err-code': String(errorCode),
            'api-key': API_KEY,
            'message-timestamp': at.toISOString().slice(0, 19).replace('T', ' '),
            timestamp: String(Math.floor(at.getTime() / 1000)),
            nonce: randomUUID(),
            ...reference,
          };
          const secret = isForged === true ? 'another' : SIGNATURE_SECRET;
          return posted(reportUrl, { ...receipt, sig: signVonageReport('sha256', secret, receipt) });
        },
      },
      options,
    ),
};

function posted(url: string, receipt: Readonly<Record<string, string>>): PostedReport {
  return { url, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(receipt) };
}

function segmentsOf(text: string, type: string): number {
  const [whole, joined] = type === 'unicode' ? [70, 67] : [160, 153];
  return text.length <= whole ? 1 : Math.ceil(text.length / joined);
}
