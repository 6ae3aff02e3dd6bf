import type { Static } from 'typebox';
import type { Composed } from '../compose.ts';
import type { Channel } from '../domain/provider.ts';
import { toBody as messageBodyOf } from '../http/routes/messages.ts';
import { toBody as verificationBodyOf } from '../http/routes/verifications.ts';
import type { MessageBody, StartedBody } from '../http/schemas.ts';
import type { MessageView } from '../service/send-message.ts';
import { DEFAULT_APP } from '../service/start-verification.ts';
import { CliError, type ProblemBody, problemBodyOf } from './output.ts';
import { findRunningServer } from './running-server.ts';

/** The server answers within its own deadline of 8 s for providers, or is stuck. */
const SERVER_PATIENCE_MS = 15_000;

export type StartedJson = Static<typeof StartedBody>;
export type MessageJson = Static<typeof MessageBody>;

type Recipient = { readonly to: string; readonly country?: string; readonly channel?: string };
type StartFields = Recipient & { readonly locale?: string; readonly purpose?: string };
type MessageFields = Recipient & { readonly text: string };

export type SendAnswer<Body> =
  /** `provider`: who took the message, where that is known */
  | { readonly kind: 'sent'; readonly body: Body; readonly provider: string | undefined }
  | {
      readonly kind: 'refused';
      readonly problem: ProblemBody;
      /** what each provider said */
      readonly failures: readonly { readonly provider: string; readonly reason: string; readonly code: string }[];
    };

type Sender = {
  start(fields: StartFields): Promise<SendAnswer<StartedJson>>;
  sendMessage(fields: MessageFields): Promise<SendAnswer<MessageJson>>;
};

/** Where the work is done: in this process on the store, or by the server that has the inbox. The answers are alike. */
export type SendWay = Sender &
  (
    | { readonly kind: 'server'; readonly url: string }
    /** `whyNoInbox`: why a message of this process is in no inbox page */
    | { readonly kind: 'store'; readonly dataDir: string; readonly whyNoInbox: string }
  );

export async function openSendWay(composed: Composed, app: string): Promise<SendWay> {
  const { config, countersign } = composed;
  const onStore = (whyNoInbox: string): SendWay => ({
    kind: 'store',
    dataDir: config.dataDir,
    whyNoInbox,
    ...senderOf(composed, app, callStore(composed, app)),
  });
  if (config.mode === 'production') return onStore('there is no inbox in production');
  const server = await findRunningServer(config, await countersign.tokens.jwks());
  const place = `${config.host}:${config.port}`;
  if (server.kind === 'none') return onStore(`no server runs at ${place}, so there is no inbox page; start one first`);
  if (server.kind === 'other') return onStore(`what answers at ${place} works on another store`);
  if (!server.hasInbox) return onStore(`the server at ${place} runs in production mode`);
  const [firstApp] = config.apps.keys();
  // Without a key the server takes a caller on this machine for this app, see `http/authenticate.ts`.
  if (app !== (config.apps.has(DEFAULT_APP) ? DEFAULT_APP : firstApp))
    return onStore(`the server at ${place} takes messages of app '${app}' only with its API key`);
  return { kind: 'server', url: server.url, ...senderOf(composed, app, callServer(server.url)) };
}

/** What of the API sending takes. */
type Calls = {
  start(fields: StartFields): Promise<StartedJson | ProblemBody>;
  sendMessage(fields: MessageFields): Promise<MessageJson | ProblemBody>;
};

function senderOf({ countersign }: Composed, app: string, calls: Calls): Sender {
  /** What the message went through: answers do not say, and the store does, whoever wrote it there. */
  async function lastDispatches({ to, country }: Recipient, since: number): Promise<MessageView['dispatches']> {
    const parsed = countersign.numbers.parse({ app, to, ...(country === undefined ? {} : { country }) });
    if (parsed.kind === 'refused') return [];
    const list = await countersign.messages.list({ app, to: parsed.number.number, limit: 1 });
    const [message] = list.kind === 'found' ? list.messages : [];
    return message === undefined || message.createdAt < since ? [] : message.dispatches;
  }
  async function answerTo<Body extends StartedJson | MessageJson>(
    recipient: Recipient,
    call: () => Promise<Body | ProblemBody>,
  ): Promise<SendAnswer<Body>> {
    const since = Date.now();
    const body = await call();
    const dispatches = await lastDispatches(recipient, since);
    if (!('detail' in body)) return { kind: 'sent', body, provider: dispatches.at(-1)?.provider };
    const failures = dispatches.map(({ provider, reason = 'unknown', errorCode = 'no code' }) => ({
      provider,
      reason,
      code: errorCode,
    }));
    return { kind: 'refused', problem: body, failures };
  }
  return {
    start: (fields) => answerTo(fields, () => calls.start(fields)),
    sendMessage: (fields) => answerTo(fields, () => calls.sendMessage(fields)),
  };
}

function callStore({ countersign }: Composed, app: string): Calls {
  return {
    async start({ channel, ...fields }) {
      const answer = await countersign.verifications.start({ app, ...fields, ...channelOf(channel) });
      if (answer.kind === 'refused') return problemBodyOf(answer);
      const { verification, code } = answer;
      return { ...verificationBodyOf(verification), ...(code === undefined ? {} : { code }) };
    },
    async sendMessage({ channel, ...fields }) {
      const answer = await countersign.messages.send({ app, ...fields, ...channelOf(channel) });
      return answer.kind === 'refused' ? problemBodyOf(answer) : messageBodyOf(answer.message);
    },
  };
}

function callServer(url: string): Calls {
  async function post<Body>(path: string, fields: object): Promise<Body | ProblemBody> {
    try {
      const response = await fetch(url + path, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(fields),
        signal: AbortSignal.timeout(SERVER_PATIENCE_MS),
      });
      return (await response.json()) as Body | ProblemBody;
    } catch (error) {
      throw new CliError(
        `The server at ${url} did not answer (${(error as Error).message}); the message may have been sent all the same.`,
      );
    }
  }
  return {
    start: (fields) => post<StartedJson>('/v1/verifications', fields),
    sendMessage: (fields) => post<MessageJson>('/v1/messages', fields),
  };
}

/** The command has checked that it is one. */
function channelOf(channel: string | undefined): { channel?: Channel } {
  return channel === undefined ? {} : { channel: channel as Channel };
}
