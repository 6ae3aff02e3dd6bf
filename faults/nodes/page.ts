import { table, whole } from '../../bench/tables.ts';
import type { StoreName } from './backends.ts';
import { nodeFaults } from './faults.ts';
import { rules } from './judge.ts';
import { describeBroken, type SurvivalObservation } from './observe.ts';

export const NODES_HEADING = '## Many nodes';

export type NodesResults = {
  readonly observed: readonly SurvivalObservation[];
  readonly versions: ReadonlyMap<StoreName, string>;
  /** when, on which machine */
  readonly conditions: string;
};

/** Markdown: a table for each store. */
export function nodesTables({ observed, versions }: Pick<NodesResults, 'observed' | 'versions'>): string {
  return [...versions]
    .map(
      ([store, version]) =>
        `### ${titles[store]}\n\n${version}.\n\n${storeTable(observed.filter((each) => each.store === store))}`,
    )
    .join('\n\n');
}

const titles: Readonly<Record<StoreName, string>> = {
  postgres: 'On PostgreSQL',
  redis: 'On Redis in front of PostgreSQL',
};

function storeTable(observed: readonly SurvivalObservation[]): string {
  const rows = nodeFaults.flatMap(({ id, what }) => {
    const rounds = observed.filter(({ fault }) => fault === id);
    if (rounds.length === 0) return [];
    const sum = (figure: (each: SurvivalObservation) => number) =>
      whole(rounds.reduce((all, each) => all + figure(each), 0));
    const most = (figure: (each: SurvivalObservation) => number | undefined) => {
      const seconds = Math.max(...rounds.map((each) => figure(each) ?? Number.POSITIVE_INFINITY)) / 1000;
      return Number.isFinite(seconds) ? `${seconds.toFixed(2)} s` : 'never';
    };
    const held = rounds.filter(({ broken }) => broken.length === 0).length;
    return [
      [
        what,
        sum(({ requests }) => requests),
        sum(({ unavailable }) => unavailable),
        sum(({ cut }) => cut),
        most(({ slowestMs }) => slowestMs),
        most(({ recoveryMs }) => recoveryMs),
        sum(({ verifications }) => verifications),
        sum(({ approvals }) => approvals),
        sum(({ sentTwice }) => sentTwice),
        `${held} of ${rounds.length}`,
      ],
    ];
  });
  const heads = [
    'fault',
    'requests',
    '503',
    'cut',
    'slowest answer',
    'back after',
    'verifications',
    'approved',
    'sent twice',
    'held',
  ];
  return table(heads, rows);
}

/** The section of docs/reliability.md, from its heading on. */
export function nodesSection(results: NodesResults): string {
  const { observed, conditions } = results;
  const broken = observed.flatMap((each) =>
    describeBroken(each.broken).map((line) => `- ${each.store}, ${each.fault}: ${line}`),
  );
  const lost = observed.flatMap((each) => each.lost.map((line) => `- ${each.store}, ${each.fault}: ${line}`));
  const verdict =
    broken.length === 0
      ? 'All of it held in this run.'
      : `**In this run ${broken.length} did not hold:**\n\n${broken.join('\n')}`;
  return `${NODES_HEADING}

What becomes of codes, limits and messages when a node, PostgreSQL or Redis fails? \`npm run faults -- --nodes --write\` tries it, and writes this part of the page.

\`\`\`
npm run faults -- --nodes                                       # all stores, all faults
npm run faults -- --nodes --store postgres --fault nodes-killed # one; both options may be repeated
npm run faults -- --nodes --quick                               # seconds in place of minutes: so \`npm test\` has it, too
npm run faults -- --nodes --rounds 10                           # each ten times
\`\`\`

${conditions}

Four \`countersign serve\` in production mode share the store; their codes go to a simulator of a vendor. All of it is on one machine, over real connections. Clients that know nothing of each other ask
whichever node: they start verifications with an \`Idempotency-Key\`, some twice at once, and go to another node when they get no answer; they send right codes four at once, and wrong ones eight at once;
they start eight times at once where three are allowed, guess at numbers, and send texts. In the middle of that comes the fault. Afterwards everything that was acknowledged is asked for, every open code is used, every
key is sent once more, every limit is used up, and every message is looked at.

A request whose connection was cut, or that got a 503, may have been carried out or not: it counts as either. It is never sent again by the service, and may be sent again by the client: with the same key, or as the same check.

| rule | |
|---|---|
${Object.entries(rules)
  .map(([rule, what]) => `| ${rule} | ${what} |`)
  .join('\n')}

${verdict}

*503* are the requests that were refused in that way, *cut* those whose connection was lost. *Slowest answer* leaves out repeated requests, which wait for the first one up to ten seconds. *Back after* is the time from the end of the fault
to the first answer of the last of the four nodes. *Sent twice* are messages whose node died between handing them over and storing that: they go out again after 15 s, with the same code. *Held* are the rounds in which every rule held.

${nodesTables(results)}

${lossesOfRedis}

What the rules leave out here:

${excuseTable()}

${lost.length === 0 ? 'Nothing of it was lost in this run.' : `Lost in this run, and excused:\n\n${lost.join('\n')}`}
`;
}

/** Markdown: what the judge lets pass. */
export function excuseTable(): string {
  const excuses = nodeFaults.flatMap(({ what, mayLose = {} }) =>
    Object.entries(mayLose).map(([rule, { why, lastMs }]) => {
      const when = lastMs === undefined ? 'whenever' : `in the last ${lastMs / 1000} s`;
      return { what, line: `| ${rule} | ${when} | ${why}` };
    }),
  );
  const rows = [...Map.groupBy(excuses, ({ line }) => line)].map(
    ([line, each]) => `${line} | ${each.map(({ what }) => what).join('; ')} |`,
  );
  return ['| rule | what was acknowledged | may be lost | when |', '|---|---|---|---|', ...rows].join('\n');
}

const lossesOfRedis = `### What may be lost

**PostgreSQL alone** loses nothing that was acknowledged, as long as its disk is there. One thing it does not wait for: what became of a hand-over in the last half second before a crash is then not known, and that message goes out again after 15 s, with
the same code. A failover to a replica loses nothing where the replica is synchronous (\`synchronous_standby_names\`), as it is here; an asynchronous one has not heard of the last moment, and all of that is then as if it had not been.

**Redis in front of it** answers before a replica has heard of a step, and it is the only place of some things. Each script compares the server's replication id with the one that an app's data was last known to be whole under: on a server
that was started, promoted or emptied since, nothing is done before everything that is live is back from PostgreSQL, where each step's result is some 25 ms after it was acknowledged. What has ended there stays ended, and of attempts and
guesses the greater count is kept ([decision 23](decisions/0023-redis-in-front.md)). So this can be lost:

| | failover to a replica | Redis emptied |
|---|---|---|
| one approval [1] | an approval of the last moment that neither the replica nor PostgreSQL has: some 25 ms, more on a busy machine, and a second where the node that moves history died as well. That code is good once more, until it expires and within its attempts. An approval that is older stays used up | the same |
| attempts and guesses [2, 3] | those of that moment are not counted: so many more can be made | the same |
| a code, its binding, its end [4, 5, 6] | nothing | nothing |
| limits of starts [7] | what the replica had not heard of is not counted | each window begins anew |
| the budget of an app [7] | nothing that PostgreSQL had: the greater of both is kept | the same |
| verifications [8] | one that was started in that moment is unknown: people ask for a new code | the same |
| messages [8] | one that was handed over in that moment may go out again, with the same code | the same |
| repeated requests [9] | a key that the replica had not heard of is a new one: a second message, with a code of its own | all keys are forgotten |
| everything else [10 to 15] | nothing | nothing |

While PostgreSQL is away nothing can be moved: if Redis is emptied, or fails over to a replica that is behind, before PostgreSQL is back, *the last moment* is all that time. Redis that is only stopped, or killed, loses nothing here: with \`appendonly yes\` it
has everything again, less the last second if the whole machine dies (\`appendfsync everysec\`).

Nobody can use that at will: a code is good twice only where it is approved, and Redis fails over without it, within that moment. Whoever cannot have even that uses PostgreSQL alone.`;
