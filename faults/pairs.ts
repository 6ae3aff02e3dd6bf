import { eskizSimulator } from '../src/simulators/eskiz.ts';
import { simulatorDefinitions } from '../src/simulators/index.ts';
import { type Answer, type Fault, faultNames, type SimulatorDefinition } from '../src/simulators/simulator-kit.ts';
import { twilioError, twilioSimulator } from '../src/simulators/twilio.ts';
import type { Observation } from './judge.ts';
import { definitionOf, type LogLine, openService, partyOf } from './service.ts';

/** Those of the simulators, and what needs no misbehaviour of theirs. */
export const tableFaults = [...faultNames, 'opt-out', 'late', 'nobody-listens'] as const;
export type TableFault = (typeof tableFaults)[number] | 'none';

export type Pair = { readonly simulator: SimulatorDefinition; readonly fault: TableFault };

const PAIRS_AT_ONCE = 24;
const NUMBER = '+998901234567';
const EMAIL = 'somebody@example.com';
/** A good answer, when the deadline of a hand-over (3 s) has passed. */
const LATE_MS = 3500;

/** How vendors say at once that a person wants nothing more. The others say it in a report, or never. */
const optOuts: Readonly<Record<string, Answer>> = {
  twilio: twilioError(400, 21610),
  'twilio-verify': twilioError(400, 21610),
  messaggio: {
    status: 200,
    body: { messages: [{ error: { title: 'Message rejected', detail: 'Recipient has unsubscribed' } }] },
  },
  'messaggio-otp': { status: 400, body: { title: 'Bad Request', detail: 'Recipient has unsubscribed' } },
  aws: {
    status: 400,
    type: 'application/x-amz-json-1.0',
    body: { __type: 'ConflictException', Reason: 'DESTINATION_PHONE_NUMBER_OPTED_OUT' },
  },
  whatsapp: { status: 400, body: { error: { code: 131050, type: 'OAuthException', message: 'Opted out' } } },
};

const REFUSES_BY_STATUS = 'it refuses with a status of its own, never inside a 2xx';
/** What a vendor has no way to do. A fault that is missing here and does not show is told as a failure. */
const impossible: Readonly<Record<string, Partial<Record<TableFault, string>>>> = {
  aws: { 'refuse-inside-2xx': REFUSES_BY_STATUS },
  getsms: { throttle: 'it has no refusal for it' },
  'messaggio-otp': { 'refuse-inside-2xx': REFUSES_BY_STATUS },
  playmobile: { 'refuse-inside-2xx': REFUSES_BY_STATUS, 'no-id': 'the id is ours, and is in no answer' },
  sinch: { 'refuse-inside-2xx': REFUSES_BY_STATUS },
  smpp: {
    'refuse-inside-2xx': 'an answer has one status, and no second one inside',
    credentials: 'they are looked at when the connection is bound, and not again',
    empty: 'an answer without fields is one without an id',
    redirect: 'the protocol has none',
    'stall-in-body': 'the next packet on the same connection fills up half a one',
  },
  smtp: {
    'refuse-inside-2xx': 'a server that says 2xx has taken the mail',
    balance: 'a mail server has none',
    'no-id': 'the id of a mail is ours',
    redirect: 'the protocol has none',
  },
  'twilio-verify': { 'refuse-inside-2xx': REFUSES_BY_STATUS },
  'twilio-voice': {
    content: 'what is to be said is looked at when the call is answered',
    balance: 'an empty account is suspended, and refuses the credentials',
  },
  whatsapp: { 'refuse-inside-2xx': REFUSES_BY_STATUS },
};

/** Why this pair cannot be; undefined where it can. */
export function whyNot({ simulator: { id }, fault }: Pair): string | undefined {
  if (fault === 'opt-out' && optOuts[id] === undefined) return 'it says so in a delivery report, or never';
  return impossible[id]?.[fault];
}

export const pairs: readonly Pair[] = simulatorDefinitions.flatMap((simulator) =>
  (['none', ...tableFaults] as const).map((fault) => ({ simulator, fault })),
);

/** Runs all pairs that can be, some at once. */
export async function observePairs(progress: (done: number, all: number) => void): Promise<Observation[]> {
  const possible = pairs.filter((pair) => whyNot(pair) === undefined);
  const waiting = possible.entries();
  const observed: Observation[] = [];
  const work = async () => {
    for (const [index, pair] of waiting) {
      observed[index] = await observePair(pair);
      progress(Object.keys(observed).length, possible.length);
    }
  };
  await Promise.all(Array.from({ length: PAIRS_AT_ONCE }, work));
  return observed;
}

/** One start of a fresh service whose first provider has the fault. */
async function observePair({ simulator, fault }: Pair): Promise<Observation> {
  const other = simulator.id === eskizSimulator.id ? twilioSimulator : eskizSimulator;
  const [tested, healthy] = await Promise.all([simulator.start(), other.start()]);
  if (fault !== 'none' && fault !== 'nobody-listens') tested.behaveAlways(misbehaviourOf(simulator.id, fault));
  // Port 1 (tcpmux) has no listener on any machine of today; a port that was just let go could be another pair's next.
  const url = fault === 'nobody-listens' ? tested.url.replace(/:\d+$/, ':1') : tested.url;
  const parties = { [simulator.id]: partyOf(simulator, url), [other.id]: partyOf(other, healthy.url) };
  const { kind, channels } = parties[simulator.id]?.definition ?? {};
  const log: LogLine[] = [];
  const { countersign, close } = await openService(parties, (line) => log.push(line));
  try {
    const begun = performance.now();
    const answer = await countersign.verifications.start({
      to: NUMBER,
      ...(channels?.[0] === 'email' ? { email: EMAIL } : {}),
    });
    const ms = performance.now() - begun;
    const listed = await countersign.messages.list();
    const dispatches = listed.kind === 'found' ? (listed.messages[0]?.dispatches ?? []) : [];
    const [first, second] = [tested, healthy].map(({ messages }) => messages.map(({ text }) => codeIn(text)));
    const arrived = (dispatches.at(-1)?.provider === simulator.id ? first : second)?.at(-1);
    const check =
      answer.kind === 'started' && arrived !== undefined
        ? await countersign.verifications.check({ id: answer.verification.id, code: arrived })
        : undefined;
    const secrets = [
      ...[...(first ?? []), ...(second ?? [])].map((code) => ['a code', code] as const),
      ...[NUMBER.slice(1), NUMBER.slice(4), EMAIL].map((address) => ['a number or address', address] as const),
      ...Object.values(parties).flatMap(({ definition, settings }) =>
        Object.entries(settings).flatMap(([key, value]) =>
          isSecret(definition.settings.properties[key]) ? [[`${definition.id}.${key}`, String(value)] as const] : [],
        ),
      ),
    ];
    const said = JSON.stringify([log, answer.kind === 'refused' ? answer : '']);
    return {
      provider: simulator.id,
      fault,
      isManaged: kind === 'managed',
      answer: answer.kind === 'started' ? 'accepted' : answer.code,
      ms,
      dispatches: dispatches.map(({ provider, reason, errorCode }) => ({ provider, reason, code: errorCode })),
      first: first ?? [],
      second: second ?? [],
      isApproved: check === undefined ? undefined : check.kind === 'approved',
      leaks: secrets.flatMap(([name, secret]) => (secret !== '' && said.includes(secret) ? [name] : [])),
    };
  } finally {
    await close();
    await Promise.all([tested.close(), healthy.close()]);
  }
}

function misbehaviourOf(id: string, fault: Exclude<TableFault, 'none' | 'nobody-listens'>): Fault | undefined {
  if (fault === 'late') return { kind: 'delay', delayMs: LATE_MS };
  if (fault !== 'opt-out') return fault;
  const answer = optOuts[id];
  return answer === undefined ? undefined : { kind: 'answer', answer };
}

function isSecret(schema: object | undefined): boolean {
  return schema !== undefined && 'secret' in schema && schema.secret === true;
}

/** Six digits, or, read aloud, six single ones; empty where there are none. */
function codeIn(text: string): string {
  const [code = ''] = /(?<!\d)\d{6}(?!\d)/.exec(text) ?? /(?<!\d)\d(?: \d){5}(?!\d)/.exec(text) ?? [];
  return code.replaceAll(' ', '');
}

/** Simulators of providers that the index does not have, and the other way round. */
export function unmatched(providers: readonly string[]): string[] {
  const simulated = new Set(simulatorDefinitions.map((simulator) => definitionOf(simulator)?.id));
  return providers.filter((id) => !simulated.has(id));
}
