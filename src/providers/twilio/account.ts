import Type from 'typebox';
import type { Money } from '../../domain/price.ts';
import type { FailureReason, ProbeOutcome, SendOutcome } from '../../domain/provider.ts';
import { failed } from '../../provider-kit/define-provider.ts';
import { fieldsOf, type HttpSilence } from '../../provider-kit/http-client.ts';
import {
  isTwoHundred,
  moneyOf,
  numberOf,
  probeStranger,
  refusedByStatus,
  waitOf,
  wordOf,
} from '../../provider-kit/reading.ts';
import { addressFaults } from '../../provider-kit/settings.ts';
import { edgeOfRegion, type TwilioConnection, type TwilioLogin, type TwilioReply } from './sdk.ts';

// What all of Twilio's products have in common: the account, its errors, and how to ask after it.

/**
 * Errors of every product, about the account and not about a message.
 * Source: https://www.twilio.com/docs/api/errors, one page per code (read 2026-11-20).
 */
export const twilioAccountReasons: readonly (readonly [code: number, reason: FailureReason])[] = [
  [20003, 'account'], // authentication failed; also the sign of a suspended account or another region's credentials
  [20005, 'account'], // account not active
  [10001, 'account'], // account not active
  [20008, 'account'], // not with test credentials
  [20404, 'account'], // no such account or path
  [20429, 'throttled'], // too many concurrent requests; documented as never processed
  // 20500 says that the message may have gone out (https://www.twilio.com/docs/api/errors/20500); 20503 asks to try again.
  [20500, 'uncertain'], // internal error
  [20503, 'unavailable'], // service unavailable
];

/** Settings with which every product logs in. */
export const twilioLoginSettings = {
  accountSid: Type.String({ description: 'Account SID, AC…; also needed with an API key' }),
  authToken: Type.Optional(
    Type.String({ secret: true, description: 'auth token; also what delivery reports are signed with' }),
  ),
  previousAuthToken: Type.Optional(
    Type.String({ secret: true, description: 'auth token before the last rotation, for signatures alone' }),
  ),
  apiKey: Type.Optional(Type.String({ description: 'API key SID, SK…, instead of the auth token' })),
  apiSecret: Type.Optional(Type.String({ secret: true, description: 'secret of the API key' })),
  edge: Type.Optional(Type.String({ description: 'edge location, e.g. dublin' })),
  region: Type.Optional(Type.String({ description: 'processing region, e.g. ie1; it has credentials of its own' })),
};

/** The variables of `twilioLoginSettings`: one account serves all products. */
export const twilioLoginEnvironment = {
  TWILIO_ACCOUNT_SID: 'accountSid',
  TWILIO_AUTH_TOKEN: 'authToken',
  TWILIO_PREVIOUS_AUTH_TOKEN: 'previousAuthToken',
  TWILIO_API_KEY: 'apiKey',
  TWILIO_API_SECRET: 'apiSecret',
  TWILIO_EDGE: 'edge',
  TWILIO_REGION: 'region',
} as const;

/** A space copied along with a credential gives a 20003 that nobody can see; none of Twilio's values has one at its ends. */
export function trimmed<Settings extends { readonly accountSid: string }>(settings: Settings): Settings {
  const entries = Object.entries(settings).map(([name, value]) => [name, String(value).trim()] as const);
  // An empty line of a copied `.env` (`TWILIO_API_KEY=`) means "not set".
  const filled = Object.fromEntries(entries.filter(([, value]) => value !== ''));
  return { ...filled, accountSid: filled['accountSid'] ?? '' } as Settings;
}

/** @param baseUrlVariable e.g. `TWILIO_BASE_URL` */
export function twilioLoginFaults(login: TwilioLogin, baseUrlVariable: string): string[] {
  const { accountSid, authToken, apiKey, apiSecret, edge, region, baseUrl } = login;
  const faults: string[] = [];
  if (!/^AC[0-9a-f]{32}$/i.test(accountSid)) {
    const isKey = accountSid.startsWith('SK');
    faults.push(
      `TWILIO_ACCOUNT_SID must be AC and 32 hexadecimal digits${isKey ? '; an SK… value is an API key and belongs in TWILIO_API_KEY' : ''}`,
    );
  }
  if ((apiKey === undefined) !== (apiSecret === undefined)) {
    faults.push('TWILIO_API_KEY and TWILIO_API_SECRET belong together: set both or neither');
  } else if (authToken === undefined && apiKey === undefined) {
    faults.push('TWILIO_AUTH_TOKEN is missing (or TWILIO_API_KEY with TWILIO_API_SECRET)');
  }
  if (apiKey !== undefined && !/^SK[0-9a-f]{32}$/i.test(apiKey)) {
    faults.push('TWILIO_API_KEY must be SK and 32 hexadecimal digits');
  }
  if (edge === undefined && region !== undefined && !edgeOfRegion.has(region)) {
    faults.push('TWILIO_REGION needs TWILIO_EDGE as well: Twilio has no hosts for a region alone any more');
  }
  return [...faults, ...addressFaults(baseUrlVariable, baseUrl)];
}

/** The tokens that a webhook may be signed with. An API key signs nothing. */
export function signingTokens({
  authToken,
  previousAuthToken,
}: {
  readonly authToken?: string | undefined;
  readonly previousAuthToken?: string | undefined;
}): readonly string[] {
  return [authToken, previousAuthToken].filter((token) => token !== undefined);
}

/** Twilio's code as it stands in either error body (the classic one and RFC 9457 both have `code`) or in a webhook. */
export function twilioCode(value: unknown): number | undefined {
  return /^\d{1,6}$/.test(wordOf(value)) ? Number(value) : undefined;
}

/**
 * What a refusal means: the code first, then the status.
 * @param code where it does not stand in the body's `code`: a refusal inside a 2xx
 */
export function refusedByTwilio(
  reply: TwilioReply,
  reasons: ReadonlyMap<number, FailureReason>,
  code = twilioCode(fieldsOf(reply.json)['code']),
): Extract<SendOutcome, { kind: 'failed' }> {
  const { status, retryAfterMs } = reply;
  const said = String(code ?? status);
  const reason = reasons.get(code ?? 0) ?? (isTwoHundred(reply) ? 'unavailable' : undefined);
  return reason === undefined ? refusedByStatus(reply, said) : failed(reason, said, waitOf(reason, retryAfterMs));
}

/** What Twilio says that it charged: a negative number, and null until it has. */
export function twilioCost(json: unknown): Money | undefined {
  const { price, price_unit: currency } = fieldsOf(json);
  return moneyOf(-numberOf(price), currency);
}

/** Asks for the account without sending anything. */
export async function probeTwilio(
  { client, ask }: TwilioConnection,
  login: TwilioLogin,
  baseUrlVariable: string,
  signal: AbortSignal,
): Promise<ProbeOutcome> {
  if (login.apiKey !== undefined) {
    // Only a Main key may fetch the account; a Standard one, which is what one should use, gets the same 20003
    // as a wrong secret. Source: https://www.twilio.com/docs/iam/api-keys (read 2026-11-20).
    const reply = await ask(signal, () => client.balance.fetch());
    return readTwilioProbe(reply, login, baseUrlVariable) ?? { kind: 'ready', ...balanceDetail(reply) };
  }
  const reply = await ask(signal, () => client.api.v2010.accounts(login.accountSid).fetch());
  const fault = readTwilioProbe(reply, login, baseUrlVariable) ?? readAccountFault(reply);
  if (fault !== undefined) return fault;
  // A trial account cannot be told from its answers before a message fails, so it is said here.
  if (reply.kind === 'reply' && fieldsOf(reply.json)['type'] === 'Trial') {
    return { kind: 'ready', detail: 'trial account: reaches only numbers that are verified in the Twilio console' };
  }
  return { kind: 'ready', ...balanceDetail(await ask(signal, () => client.balance.fetch())) };
}

/** What is wrong with the answer to a question that sends nothing; undefined when it is one: a resource with a SID. */
export function readTwilioProbe(
  reply: TwilioReply | HttpSilence,
  login: TwilioLogin,
  baseUrlVariable: string,
): ProbeOutcome | undefined {
  if (reply.kind === 'silence') {
    const fix = `No answer from ${login.baseUrl === undefined ? 'Twilio' : baseUrlVariable}: check name resolution, firewall and proxy (HTTP_PROXY) of this machine, and https://status.twilio.com.`;
    return { kind: 'failed', reason: reply.reason, code: reply.code, fix };
  }
  const { status } = reply;
  const { sid, account_sid: accountSid, code } = fieldsOf(reply.json);
  if (status === 200 && (typeof sid === 'string' || typeof accountSid === 'string')) return undefined;
  if (status === 200 || (status >= 300 && status <= 399)) return probeStranger(reply, 'Twilio', baseUrlVariable);
  const reasons = new Map(twilioAccountReasons);
  const fix = probeFix(twilioCode(code) ?? status, login, baseUrlVariable);
  const { reason, code: said } = refusedByTwilio(reply, reasons);
  return { kind: 'failed', reason, code: said, fix };
}

function probeFix(code: number, { apiKey, region }: TwilioLogin, baseUrlVariable: string): string {
  switch (code) {
    case 20003:
    case 401: {
      const pair =
        apiKey === undefined ? 'TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN' : 'TWILIO_API_KEY and TWILIO_API_SECRET';
      const place =
        region === undefined ? 'a region other than US1, then set TWILIO_REGION' : `another region than ${region}`;
      return `Twilio refuses the credentials: copy ${pair} from the console again. They may be rotated or deleted, belong to ${place}, or the account is suspended.`;
    }
    case 20008:
      return 'These are test credentials, with which nothing is ever delivered: use the live ones of the console.';
    case 20005:
    case 10001:
      return 'The Twilio account is not active: look for a notice in the console (billing, verification of the business).';
    case 403:
      return 'The credentials may not do this: a Restricted API key needs the permission to read the balance and to send.';
    case 20404:
    case 404:
      return `Twilio knows no such account: check TWILIO_ACCOUNT_SID, and ${baseUrlVariable} if it is set.`;
    case 20429:
    case 429:
      return 'Too many requests at once on this account: try again in a moment, and look what else uses the account.';
    default:
      return `See https://www.twilio.com/docs/api/errors/${code > 999 ? code : ''} and https://status.twilio.com.`;
  }
}

function readAccountFault(reply: TwilioReply | HttpSilence): ProbeOutcome | undefined {
  const status = reply.kind === 'reply' ? fieldsOf(reply.json)['status'] : undefined;
  if (status === 'suspended') {
    const fix =
      'The Twilio account is suspended, mostly for want of credit: add funds in the console, or ask Twilio why.';
    return { kind: 'failed', reason: 'account', code: 'suspended', fix };
  }
  if (status === 'closed') {
    return { kind: 'failed', reason: 'account', code: 'closed', fix: 'The Twilio account is closed: use another one.' };
  }
  return undefined;
}

/** Only told, never judged: invoiced accounts send with a balance of zero or less. */
function balanceDetail(reply: TwilioReply | HttpSilence): { detail?: string } {
  if (reply.kind === 'silence') return {};
  const { balance, currency } = fieldsOf(reply.json);
  const isReadable = /^-?\d{1,12}(\.\d{1,8})?$/.test(wordOf(balance)) && /^[A-Z]{3}$/i.test(wordOf(currency));
  return isReadable ? { detail: `balance ${balance} ${currency}` } : {};
}
