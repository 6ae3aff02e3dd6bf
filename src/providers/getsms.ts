import Type from 'typebox';
import type { DeliveryReport, DeliveryState, FailureReason, ProbeOutcome, SendOutcome } from '../domain/provider.ts';
import { accepted, defineProvider, failed } from '../provider-kit/define-provider.ts';
import { fieldsOf, type HttpReply } from '../provider-kit/http-client.ts';
import {
  isTwoHundred,
  numberOf,
  probeSilence,
  probeStranger,
  refusedByStatus,
  silent,
  unreadable,
  wordOf,
} from '../provider-kit/reading.ts';
import { addressFaults, baseOf, baseUrlSetting } from '../provider-kit/settings.ts';

/**
 * GetSMS's `error_no`, sent with HTTP 200, as clients have it from https://getsms.uz/page/index/16, e.g.
 * https://github.com/Fariz23031998/ScrapRegosUserBot (docs/getsms.md) (read 2026-11-20).
 */
const reasons: ReadonlyMap<string, FailureReason> = new Map<string, FailureReason>([
  ['100', 'account'], // login
  ['101', 'account'], // password
  ['102', 'account'], // blocked
  ['103', 'account'], // the limit is used up
  ['200', 'content'], // data that is not understood
  ['201', 'content'],
  ['202', 'content'], // nickname
  ['203', 'content'],
  ['300', 'recipient'], // "is NOT a phone number"
]);

/** The words of its status call, without case and signs. Source: what public clients expect; the manual shows `delivered` alone. */
const deliveryStates: ReadonlyMap<string, readonly [DeliveryState, FailureReason?]> = new Map([
  ['transmitted', ['sent']],
  ['sent', ['sent']],
  ['delivered', ['delivered']],
  ['notdelivered', ['undelivered', 'unavailable']],
  ['undelivered', ['undelivered', 'unavailable']],
  ['expired', ['undelivered', 'unavailable']],
  ['rejected', ['failed', 'blocked']],
  ['failed', ['failed', 'unavailable']],
]);

/** The vendor's page speaks of https, and its manual and all public clients have this address only. */
const GETSMS_API = 'http://185.8.212.184/smsgateway';

/** GetSMS.uz: Uzbekistan. It posts no delivery reports and has to be asked. */
export const getsms = defineProvider({
  id: 'getsms',
  kind: 'messaging',
  channels: ['sms'],
  countries: ['UZ'],
  settings: Type.Object(
    {
      login: Type.String({ minLength: 1, description: 'login of the contract' }),
      password: Type.String({ minLength: 1, secret: true, description: 'password of the contract' }),
      nickname: Type.Optional(
        Type.String({ minLength: 1, description: "the sender; the contract's own unless told otherwise" }),
      ),
      baseUrl: baseUrlSetting(GETSMS_API),
    },
    { additionalProperties: false },
  ),
  environment: {
    GETSMS_LOGIN: 'login',
    GETSMS_PASSWORD: 'password',
    GETSMS_NICKNAME: 'nickname',
    GETSMS_BASE_URL: 'baseUrl',
  },
  faults: ({ baseUrl }) => addressFaults('GETSMS_BASE_URL', baseUrl),
  create: ({ login, password, nickname, baseUrl }, { http }) => {
    const base = baseOf(baseUrl, GETSMS_API);
    const askStatus = (requestId: string | number, signal: AbortSignal) =>
      http.postForm(
        `${base}/status/`,
        { login, password, data: JSON.stringify([{ request_id: requestId }]) },
        { signal },
      );

    return {
      async send({ to, text }, signal) {
        const data = JSON.stringify([{ phone: to.slice(1), text }]);
        const reply = await http.postForm(`${base}/`, { login, password, nickname, data }, { signal });
        return reply.kind === 'silence' ? silent(reply) : readSendReply(reply);
      },

      async fetchReport(providerMessageId, signal) {
        const reply = await askStatus(providerMessageId, signal);
        if (reply.kind !== 'reply' || reply.status !== 200) return undefined;
        return readReport(providerMessageId, firstOf(reply)['status']);
      },

      /** There is no call for it; a question about a message that cannot exist is answered once the login was taken. */
      async probe(signal) {
        const reply = await askStatus(0, signal);
        return reply.kind === 'silence' ? probeSilence(reply, 'GetSMS', 'GETSMS_BASE_URL') : readProbeReply(reply);
      },
    };
  },
});

/** One request has one message in it, so its answer is a list of one; a refusal of the login may come without the list. */
function firstOf({ json }: HttpReply): Readonly<Record<string, unknown>> {
  return fieldsOf(Array.isArray(json) ? json[0] : json);
}

function isEmptyList({ json }: HttpReply): boolean {
  return Array.isArray(json) && json.length === 0;
}

function errorNumberOf(item: Readonly<Record<string, unknown>>): string | undefined {
  const number = wordOf(item['error_no']);
  return /^[1-9]\d{0,4}$/.test(number) ? number : undefined;
}

function readSendReply(reply: HttpReply): SendOutcome {
  const item = firstOf(reply);
  const number = errorNumberOf(item);
  const reason = number === undefined ? undefined : reasons.get(number);
  if (reason !== undefined) return failed(reason, `error ${number}`);
  if (!isTwoHundred(reply)) return refusedByStatus(reply);
  // The item says what became of the message: an error, known or not, took none.
  const { error = 0 } = item;
  const isRefused = error !== null && error !== false && numberOf(error) !== 0;
  if (number !== undefined || isRefused) return failed('content', number === undefined ? 'refused' : `error ${number}`);
  const id = wordOf(item['request_id']);
  return /^\d+$/.test(id) ? accepted(id) : unreadable();
}

function readReport(providerMessageId: string, status: unknown): DeliveryReport | undefined {
  if (typeof status !== 'string' || status === '') return undefined;
  const word = status.toLowerCase().replaceAll(/[^a-z]/g, '');
  const [state, reason] = deliveryStates.get(word) ?? ['unknown'];
  return { providerMessageId, state, ...(reason === undefined ? {} : { reason, code: word }) };
}

const fixes: ReadonlyMap<string, string> = new Map([
  ['100', 'GetSMS does not know this login: copy GETSMS_LOGIN and GETSMS_PASSWORD from the contract.'],
  ['101', 'GetSMS refuses the password: copy GETSMS_LOGIN and GETSMS_PASSWORD from the contract.'],
  ['102', 'GetSMS has blocked the account of GETSMS_LOGIN: ask its support.'],
  ['103', 'The limit of the account of GETSMS_LOGIN is used up: pay, or ask GetSMS to raise it.'],
]);

function readProbeReply(reply: HttpReply): ProbeOutcome {
  const item = firstOf(reply);
  const number = errorNumberOf(item);
  const fix = number === undefined ? undefined : fixes.get(number);
  if (fix !== undefined) return { kind: 'failed', reason: 'account', code: `error ${number}`, fix };
  if (reply.status === 401 || reply.status === 403) {
    const advice =
      'GetSMS answers only addresses that it knows: tell its support the address from which this server goes out. If it is on their list, check GETSMS_LOGIN and GETSMS_PASSWORD.';
    return { kind: 'failed', reason: 'account', code: String(reply.status), fix: advice };
  }
  // "Unknown request" is the expected answer; any other word of GetSMS about the question will do as well.
  const isAnswer = number !== undefined || typeof item['status'] === 'string' || isEmptyList(reply);
  if (reply.status !== 200 || !isAnswer) return probeStranger(reply, 'GetSMS', 'GETSMS_BASE_URL');
  return { kind: 'ready', detail: 'the login was taken; GetSMS tells no balance' };
}
