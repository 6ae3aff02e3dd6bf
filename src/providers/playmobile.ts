import Type from 'typebox';
import type { DeliveryReport, DeliveryState, FailureReason, ProbeOutcome, SendOutcome } from '../domain/provider.ts';
import { accepted, defineProvider, failed } from '../provider-kit/define-provider.ts';
import { fieldsOf, type HttpReply } from '../provider-kit/http-client.ts';
import {
  isTwoHundred,
  jsonOf,
  malformed,
  probeSilence,
  probeStranger,
  refusedByStatus,
  reported,
  silent,
  unreadable,
  wordOf,
} from '../provider-kit/reading.ts';
import { addressFaults, baseOf, baseUrlSetting } from '../provider-kit/settings.ts';

/**
 * Error codes of the broker, sent with HTTP 400. Source: table 2.2 of https://playmobile.uz/storage/2022/08/http.pdf, as
 * https://github.com/absolutionsuz/playmobile-client (playmobile/entities.py) has it (read 2026-11-20). Parts of a
 * request that are the same in each of ours are the account's matter: every message would fail.
 */
const reasons: ReadonlyMap<string, FailureReason> = new Map<string, FailureReason>([
  // "Internal server error" does not say how far the message had come.
  ['100', 'uncertain'],
  ['101', 'account'], // syntax
  ['102', 'account'], // account locked; an empty balance has no code of its own
  ['103', 'account'], // no channel
  ['104', 'account'], // priority
  ['105', 'account'], // too many ids
  ['202', 'recipient'], // "no recipient": ours always have one, so it is none in Playmobile's eyes
  ['204', 'account'], // no e-mail address
  ['205', 'account'], // no message-id
  ['206', 'account'], // variables
  ['301', 'account'], // localtime
  ['302', 'account'], // start-datetime
  ['303', 'account'], // end-datetime
  ['304', 'account'], // allowed-starttime
  ['305', 'account'], // allowed-endtime
  ['306', 'account'], // send-evenly
  ['401', 'content'], // originator
  ['402', 'account'], // application
  ['403', 'content'], // no ttl; this one and 407 depend on what is left of the code's life
  ['404', 'content'],
  ['405', 'content'],
  ['406', 'content'],
  ['407', 'content'],
  ['408', 'account'], // attachments
  ['410', 'account'], // retry-attempts
  ['411', 'account'], // retry-timeout
]);

/**
 * Words of delivery reports, without case and signs: clients write both `NotDelivered` and `not_delivered`. Source: public
 * clients of the API; the vendor's wiki (https://wiki.playmobile.uz) was not seen whole.
 */
const deliveryStates: ReadonlyMap<string, readonly [DeliveryState, FailureReason?]> = new Map([
  ['accepted', ['queued']],
  ['transmitted', ['sent']],
  ['sent', ['sent']],
  ['delivered', ['delivered']],
  ['notdelivered', ['undelivered', 'unavailable']],
  ['undelivered', ['undelivered', 'unavailable']],
  ['expired', ['undelivered', 'unavailable']],
  ['rejected', ['failed', 'blocked']],
  ['failed', ['failed', 'unavailable']],
  ['deleted', ['failed', 'unavailable']],
]);

const PLAYMOBILE_API = 'https://send.smsxabar.uz';
/** The short code that every account may send from. */
const SHARED_ORIGINATOR = '3700';
/**
 * The end of our id, of which 16 characters are random. Clients quote the vendor's manual with 20 as the most, and its wiki
 * with 40.
 */
const MESSAGE_ID_CHARS = 20;

/** Playmobile (SMSXabar): the broker of Uzbekistan's operators. */
export const playmobile = defineProvider({
  id: 'playmobile',
  kind: 'messaging',
  channels: ['sms'],
  countries: ['UZ'],
  settings: Type.Object(
    {
      login: Type.String({ minLength: 1, description: 'login of the contract' }),
      password: Type.String({ minLength: 1, secret: true, description: 'password of the contract' }),
      originator: Type.Optional(
        Type.String({ maxLength: 11, description: `the sender, ${SHARED_ORIGINATOR} unless told otherwise` }),
      ),
      priority: Type.Optional(
        Type.Enum(['low', 'normal', 'high', 'realtime'], { description: "the contract's own unless told otherwise" }),
      ),
      baseUrl: baseUrlSetting(PLAYMOBILE_API),
    },
    { additionalProperties: false },
  ),
  environment: {
    PLAYMOBILE_LOGIN: 'login',
    PLAYMOBILE_PASSWORD: 'password',
    PLAYMOBILE_ORIGINATOR: 'originator',
    PLAYMOBILE_PRIORITY: 'priority',
    PLAYMOBILE_BASE_URL: 'baseUrl',
  },
  faults: ({ login, baseUrl }) => [
    ...(login.includes(':') ? ['PLAYMOBILE_LOGIN must not have a colon in it: HTTP Basic cannot carry one'] : []),
    ...addressFaults('PLAYMOBILE_BASE_URL', baseUrl),
  ],
  create: (settings, { http }) => {
    const { login, password, originator = SHARED_ORIGINATOR, priority } = settings;
    const url = `${baseOf(settings.baseUrl, PLAYMOBILE_API)}/broker-api/send`;

    const post = (body: unknown, signal: AbortSignal) =>
      http.postJson(url, body, {
        signal,
        basic: [login, password],
        headers: { 'Content-Type': 'application/json; charset=UTF-8', Accept: 'text/plain, application/json' },
      });

    return {
      async send(message, signal) {
        const id = message.messageId.slice(-MESSAGE_ID_CHARS);
        // A key without a value is refused, so what is not set is left out.
        const body = {
          ...(priority === undefined ? {} : { priority }),
          sms: { originator, ttl: message.validitySeconds, content: { text: message.text } },
          messages: [{ recipient: message.to.slice(1), 'message-id': id }],
        };
        const reply = await post(body, signal);
        return reply.kind === 'silence' ? silent(reply) : readSendReply(reply, id);
      },

      parseReport(request) {
        const body = jsonOf(request);
        const messages = fieldsOf(body)['messages'];
        const entries: readonly unknown[] = [Array.isArray(messages) ? messages : body].flat();
        const reports = entries.map(readReport).filter((report) => report !== undefined);
        return reports.length === 0 ? malformed : reported(...reports);
      },

      /** There is no call for it; a request without messages is refused by its contents once the login was taken. */
      async probe(signal) {
        const reply = await post({ messages: [] }, signal);
        return reply.kind === 'silence'
          ? probeSilence(reply, 'Playmobile', 'PLAYMOBILE_BASE_URL')
          : readProbeReply(reply);
      },
    };
  },
});

/** @param id the one that we made: the answer is plain text and has none */
function readSendReply(reply: HttpReply, id: string): SendOutcome {
  const code = errorCodeOf(reply);
  const reason = code === undefined ? undefined : reasons.get(code);
  // Not the bare number: HTTP 401 is the login, error 401 the sender.
  if (reason !== undefined) return failed(reason, `error ${code}`);
  if (!isTwoHundred(reply)) return refusedByStatus(reply, code === undefined ? undefined : `error ${code}`);
  return isReceived(reply) ? accepted(id) : unreadable();
}

function isReceived({ text }: HttpReply): boolean {
  return /^\W*request is received\b/i.test(text ?? '');
}

/** With a hyphen in the manual, with `_` in answers that clients have seen; a number or a text. */
function errorCodeOf({ json }: HttpReply): string | undefined {
  const fields = fieldsOf(json);
  const code = wordOf(fields['error-code'] ?? fields['error_code']);
  return /^\d{1,5}$/.test(code) ? code : undefined;
}

function readProbeReply(reply: HttpReply): ProbeOutcome {
  const code = errorCodeOf(reply);
  if (reply.status === 401 || reply.status === 403) {
    const fix =
      'Playmobile refuses the login: copy PLAYMOBILE_LOGIN and PLAYMOBILE_PASSWORD from the contract. It also refuses addresses that it does not know: tell its support the address from which this server goes out.';
    return { kind: 'failed', reason: 'account', code: String(reply.status), fix };
  }
  if (code === '102') {
    const fix =
      'Playmobile has locked the account of PLAYMOBILE_LOGIN, which it also does when the balance is used up: pay, or ask its support.';
    return { kind: 'failed', reason: 'account', code: 'error 102', fix };
  }
  const isRefusedByContents = reply.status === 400 && code !== undefined && code !== '100';
  if (!isRefusedByContents && !(reply.status === 200 && isReceived(reply)))
    return probeStranger(reply, 'Playmobile', 'PLAYMOBILE_BASE_URL');
  return { kind: 'ready', detail: 'the login was taken; Playmobile tells neither balance nor senders' };
}

function readReport(entry: unknown): DeliveryReport | undefined {
  const fields = fieldsOf(entry);
  const id = fields['message-id'] ?? fields['message_id'];
  const { status } = fields;
  if (typeof id !== 'string' || id === '' || typeof status !== 'string' || status === '') return undefined;
  const word = status.toLowerCase().replaceAll(/[^a-z]/g, '');
  const [state, reason] = deliveryStates.get(word) ?? ['unknown'];
  return { providerMessageId: id, state, ...(reason === undefined ? {} : { reason, code: word }) };
}
