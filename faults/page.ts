import { ms, percent, table, whole } from '../bench/tables.ts';
import { addedMs, judge, type LoadObservation, MOST_ADDED_MS, type Observation } from './judge.ts';
import { pairs, type TableFault, whyNot } from './pairs.ts';

/** A time below that says more about the machine, which runs two dozen services at once here. */
const WORTH_TELLING_MS = 2000;

/** What each fault is, in the order of the tables. */
const groups: readonly (readonly [title: string, faults: Partial<Record<TableFault, string>>])[] = [
  [
    'The provider refuses',
    {
      'bad-number': 'the number is invalid',
      'opt-out': 'the person replied STOP',
      'refuse-inside-2xx': 'a refusal of any kind, in an answer with status 2xx',
      throttle: 'too many requests',
      credentials: 'the credentials are refused',
      balance: 'the account is empty',
      content: 'the text or the sender is refused',
    },
  ],
  [
    'No whole answer',
    {
      'nobody-listens': 'the connection is refused',
      'drop-before-reading': 'the connection is cut before the request is read',
      'drop-after-reading': 'the connection is cut when the message is taken',
      'server-error': '500, with the message taken',
      redirect: '302, with the message taken',
      stall: 'the message is taken, and no answer comes',
      'stall-in-body': 'the message is taken, and the answer stops half-way',
      late: 'the message is taken, and the answer comes after 3.5 s',
    },
  ],
  [
    'An answer that cannot be understood, with the message taken',
    {
      none: 'no fault, for comparison',
      garbage: 'a 2xx whose JSON breaks off',
      html: 'a 2xx with a page of a proxy',
      empty: 'a 2xx without a body',
      'invalid-utf8': 'a 2xx with bytes that are no text',
      huge: 'a 2xx of ten megabytes',
      'no-id': 'a good 2xx without the id of the message',
    },
  ],
];

/** Markdown. */
export function pairTables(observed: readonly Observation[]): string {
  const rows = [...new Set(pairs.map(({ simulator }) => simulator.id))];
  const sections = groups.map(([title, faults]) => {
    const names = Object.keys(faults);
    const meanings = Object.entries(faults).map(([name, what]) => [`\`${name}\``, what]);
    const cells = rows.map((id) => [
      id,
      ...names.map((fault) => cellOf(observed.find((each) => each.provider === id && each.fault === fault))),
    ]);
    const heads = ['provider', ...names.map((name) => `\`${name}\``)];
    return `### ${title}\n\n${wordTable(['fault', 'what happens'], meanings)}\n\n${wordTable(heads, cells)}`;
  });
  return sections.join('\n\n');
}

/** A markdown table of words, all columns to the left. */
function wordTable(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [heads, heads.map(() => '---'), ...rows];
  const widths = heads.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all.map((row) => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`).join('\n');
}

function cellOf(seen: Observation | undefined): string {
  if (seen === undefined) return '–';
  const [first] = seen.dispatches;
  const isDouble = seen.first.length > 0 && seen.second.length > 0;
  return [
    judge(seen).length > 0 ? '✗' : '',
    first?.reason ?? 'accepted',
    seen.answer === 'recipient-refused' ? '**stop**' : '',
    isDouble ? '×2' : '',
    seen.ms >= WORTH_TELLING_MS ? `${(seen.ms / 1000).toFixed(1)} s` : '',
  ]
    .filter(Boolean)
    .join(' ');
}

function impossibleTable(): string {
  const reasons = new Map<string, string[]>();
  for (const pair of pairs) {
    const why = whyNot(pair);
    const key = `${why} | ${pair.fault}`;
    if (why !== undefined) reasons.set(key, [...(reasons.get(key) ?? []), pair.simulator.id]);
  }
  const rows = [...reasons].map(([key, ids]) => {
    const [why = '', fault = ''] = key.split(' | ');
    return [`\`${fault}\``, ids.join(', '), why];
  });
  return wordTable(['fault', 'provider', 'why not'], rows);
}

/** Markdown. */
export function loadTables(loads: readonly LoadObservation[]): string {
  const both = ({ p50, p99 }: LoadObservation['after']) => `${ms(p50)} / ${ms(p99)}`;
  const seconds = (value: number | undefined) => (value === undefined ? 'never' : `${(value / 1000).toFixed(2)} s`);
  const load = table(
    [
      'the first provider',
      'starts',
      'accepted',
      'hand-overs to it',
      'breaker open after',
      'p50 / p99 ms before',
      'after',
      'healthy',
      'added to p99',
      'rounds',
    ],
    loads.map((each) => [
      each.way,
      whole(each.starts),
      percent(each.accepted / each.starts),
      whole(each.handOvers),
      seconds(each.openedAfterMs),
      both(each.before),
      both(each.after),
      both(each.twin),
      `${addedMs(each).toFixed(1)} ms`,
      String(each.rounds),
    ]),
  );
  const recovery = table(
    ['the first provider', 'cool-off left when it is well', 'in use again after', 'later than the cool-off'],
    loads.map(({ way, coolOffLeftMs, usedAfterMs }) => [
      way,
      seconds(Math.max(0, coolOffLeftMs)),
      seconds(usedAfterMs),
      usedAfterMs === undefined ? 'never' : `${Math.round(usedAfterMs - Math.max(0, coolOffLeftMs))} ms`,
    ]),
  );
  return `${load}\n\nAfterwards it is well again, while 20 starts a second go on:\n\n${recovery}`;
}

export type Results = {
  readonly observed: readonly Observation[];
  readonly loads: readonly LoadObservation[];
  readonly failures: readonly string[];
  /** when, on which machine */
  readonly conditions: string;
};

/** docs/reliability.md */
export function pageOf({ observed, loads, failures, conditions }: Results): string {
  const slowest = Math.max(...observed.map((each) => each.ms));
  const doubles = observed.filter(({ first, second }) => first.length > 0 && second.length > 0).length;
  const stops = observed.filter(({ answer }) => answer === 'recipient-refused').length;
  const verdict =
    failures.length === 0
      ? 'All of it held in this run, and what the second part asks.'
      : `**In this run ${failures.length} did not hold:**\n\n${failures.map((each) => `- ${each}`).join('\n')}`;
  return `# Reliability

What becomes of a code when a provider fails? This part of the page is written by \`npm run faults -- --write\`, which tries it: every provider with every
fault that its vendor can have, and a load of starts on a provider that is dead. The rules that say what is tried next are in
[how-it-works.md](how-it-works.md#failover). What becomes of it when nodes, databases and networks fail is further down: [many nodes](#many-nodes).

\`\`\`
npm run faults                # both parts, about three minutes
npm run faults -- --quick     # the second one with 250 starts in place of 1 000, its milliseconds shown and not judged
npm run faults -- --write     # and writes this page
\`\`\`

It ends with status 1 when a rule below does not hold, and names each pair that broke it.

${conditions}

## Every provider with every fault

${whole(observed.length)} pairs. Each is a service of its own: production mode, a fresh data directory, a random secret, and a route of two: the provider
under test, then a healthy one (Eskiz, or Twilio where Eskiz is under test). Behind both stand simulators of the vendors (\`src/simulators/\`), over
real connections on the loopback: HTTP, SMPP and SMTP. They are written against the vendors' documents, and are not the vendors. The first one has the fault in all its
answers; one verification is started. What is looked at is the answer, the message's history, what each simulator took, the log, and whether the code that arrived is approved.

| rule | |
|---|---|
| in time | the answer comes within 8 s, and 250 ms for all else |
| not lost | the code arrives, or the history says why not; with a healthy second provider it arrives, unless the person cannot or will not be reached |
| the same code | in the second text as in the first, and it is approved |
| twice for a reason | two providers take the message only if the first outcome was \`uncertain\`; one provider never takes it twice |
| stop | after \`recipient\` or a STOP no other provider is tried, and the answer is \`recipient-refused\` |
| nothing said | no code, number, address or credential in any log line or refusal |
| alive | nothing is thrown that nobody catches |

${verdict}

${whole(observed.filter(({ answer }) => answer === 'accepted').length)} codes arrived and were approved, ${stops} were stopped as they must be, ${doubles} went out twice after an uncertain outcome.
The slowest answer took ${(slowest / 1000).toFixed(2)} s: a provider has three seconds, and then the next one has its turn.

A cell is the reason that the provider's outcome was given. **stop**: the person cannot or will not be reached, and nobody else was tried. ×2: both took the message, because
nobody could know better: without it, the first one had not taken it. A time stands where it was two seconds or more. –: the vendor cannot have this fault, see below. Everything without **stop** was accepted, and the code
approved. \`http\` and \`http-json\` are the two examples of [the page of the provider \`http\`](providers/http.md).

\`twilio-verify\` and \`messaggio-otp\` make the code themselves, so after an uncertain outcome the second text has another code: ours, and that is the one that is approved. In mail
the server speaks first: to one that greets strangely, or not at all, nothing is handed over, so \`smtp\` is \`unavailable\` there.

${pairTables(observed)}

### What cannot be

${impossibleTable()}

## A dead provider under load

Two accounts with one vendor (Sinch's simulator), the first of which dies. ${whole(loads[0]?.starts ?? 0)} starts at 50 a second, at instants that were fixed beforehand; latency counts from
these. After five failures the breaker opens, and the provider is skipped until its cool-off is over (10 s, then 20, 40, 60); then it is asked without sending, and gets messages only when it answers.

*Before* and *after* are the starts before and after the breaker opened. *Healthy* is a second service beside it, with a first provider that is well: it gets as many starts at the same
time, in turns, so that what else the machine does is met by both alike. What is *added* is the difference of the two p99, and must be under ${MOST_ADDED_MS} ms; where it is not, the way is measured
again, three times at most (*rounds*), and the least is shown. No message may be handed to a provider whose breaker is open, every start must be accepted, and within a second after its cool-off the provider must be in use again.

A provider that takes requests and never answers costs the starts of its first three seconds these three seconds, and their texts go out twice: until then nothing is known.

${loadTables(loads)}

Percentiles are of one process that is service and simulators at once; how fast the service itself is says [performance.md](performance.md).
`;
}
