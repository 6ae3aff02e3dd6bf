import twilio from 'twilio';
import Type, { type TObject } from 'typebox';
import type { FileConfig } from '../../../src/config/load.ts';
import type { OutgoingMessage, SendOutcome } from '../../../src/domain/provider.ts';
import { accepted, defineProvider, type ProviderDefinition } from '../../../src/provider-kit/define-provider.ts';
import type { Answer } from '../http-client.ts';
import { type RunningServer, startServer, wideLimits } from '../running-server.ts';

export const SHOP = { accountSid: `AC${'1'.repeat(32)}`, authToken: 'shop-token-0123456789' };
export const OTHER = { accountSid: `AC${'2'.repeat(32)}`, authToken: 'other-token-0123456789' };

export const MINUTE = 60_000;

type AppConfig = NonNullable<FileConfig['apps']>[string];

export type VerifyBench = RunningServer & {
  /** the unmodified SDK, with its host changed */
  readonly client: twilio.Twilio;
  clientOf(account: { readonly accountSid: string; readonly authToken: string }): twilio.Twilio;
  readonly sent: OutgoingMessage[];
  /** what the next message comes to */
  behave(outcome: SendOutcome): void;
  /** The newest code that was sent to a number or an address. */
  newestCode(to: string): string;
  /** One request as it goes over the wire. */
  raw(
    method: string,
    path: string,
    more?: { readonly form?: string | Record<string, string>; readonly headers?: Record<string, string> },
  ): Promise<Answer>;
};

/** A server in production mode with two apps that are called as Twilio Verify is, and one phone for every channel. */
export async function startVerify(app: AppConfig = {}, file: FileConfig = {}): Promise<VerifyBench> {
  const sent: OutgoingMessage[] = [];
  const outcomes: SendOutcome[] = [];
  const definition = defineProvider({
    id: 'handset',
    kind: 'messaging',
    channels: ['sms', 'voice', 'whatsapp', 'email'],
    settings: Type.Object({}, { additionalProperties: false }),
    environment: {},
    create: () => ({
      async send(message) {
        sent.push(message);
        return outcomes.shift() ?? accepted(`handset-${message.messageId}`);
      },
    }),
  });
  const server = await startServer({
    file: {
      mode: 'production',
      providers: { handset: definition as unknown as ProviderDefinition<TObject> },
      apps: {
        shop: { brand: 'Shop', limits: wideLimits, dialect: { dialect: 'twilio-verify', ...SHOP }, ...app },
        other: { brand: 'Other', limits: wideLimits, dialect: { dialect: 'twilio-verify', ...OTHER } },
      },
      ...file,
    },
  });
  const clientOf = ({ accountSid, authToken }: typeof SHOP) => {
    const client = twilio(accountSid, authToken);
    client.verify.baseUrl = server.origin;
    return client;
  };
  const basic = Buffer.from(`${SHOP.accountSid}:${SHOP.authToken}`).toString('base64');
  return {
    ...server,
    client: clientOf(SHOP),
    clientOf,
    sent,
    behave: (outcome) => void outcomes.push(outcome),
    newestCode(to) {
      const code = sent.findLast((message) => message.to === to || message.email === to)?.code;
      if (code === undefined) throw new Error(`no code was sent to ${to}`);
      return code;
    },
    raw: (method, path, { form, headers = {} } = {}) =>
      server.call(method, path, {
        headers: {
          authorization: `Basic ${basic}`,
          ...(form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
          ...headers,
        },
        ...(form === undefined ? {} : { body: typeof form === 'string' ? form : new URLSearchParams(form).toString() }),
      }),
  };
}

/** What the SDK threw, as far as its callers look at it. */
export async function refusalOf(promise: Promise<unknown>) {
  const error: unknown = await promise.then(
    () => new Error('it was not refused'),
    (thrown: unknown) => thrown,
  );
  const { status, code, message, moreInfo } = error as {
    status?: number;
    code?: number;
    message: string;
    moreInfo?: string;
  };
  return { status, code, message, moreInfo };
}

/** The refusal of that number, in the form of `refusalOf`. */
export function twilioRefusal(status: number, code: number, message: unknown) {
  return { status, code, message, moreInfo: `https://www.twilio.com/docs/errors/${code}` };
}
