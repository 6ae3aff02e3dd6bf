import { nearestTo } from '../domain/nearest.ts';
import { formatMoney, groupThousands, type Money } from '../domain/price.ts';
import { dayOf } from '../domain/usage.ts';
import { toAmount } from '../http/amount.ts';
import type { UsageView } from '../service/read-usage.ts';
import { defineCommand, expectPositionals, jsonOption } from './command.ts';
import { withInstallation } from './installation.ts';
import { columns, exitCodes, print, printJson, UsageError } from './output.ts';

const groupings = ['provider', 'country', 'day', 'app'] as const;
type Grouping = (typeof groupings)[number];

const DAY_MS = 86_400_000;
const DEFAULT_DAYS = 30;

export const usage = defineCommand({
  name: 'usage',
  positionals: '',
  description: `Shows what was sent, delivered, approved and spent, from the store: of all apps, the last ${DEFAULT_DAYS} days (UTC),
unless told otherwise. Wasted is what was spent on codes that nobody was approved by.`,
  options: {
    from: { type: 'string', value: 'DAY', help: 'first day, e.g. 2026-11-01' },
    to: { type: 'string', value: 'DAY', help: 'last day; today unless told otherwise' },
    app: { type: 'string', value: 'APP', help: 'only this app' },
    by: {
      type: 'string',
      value: 'WHAT',
      help: `a line for each ${groupings.join(', ')}; provider unless told otherwise`,
    },
    json: jsonOption,
  },
  examples: ['usage', 'usage --from 2026-11-01 --to 2026-11-20 --app taxi --by country'],
  async run({ from, to, app, by = 'provider', json }, positionals) {
    expectPositionals('usage', positionals);
    if (!isGrouping(by)) throw new UsageError(`--by takes no '${by}'${nearestTo(by, groupings)}`, 'usage');
    const period = { from: readDay('--from', from), to: readDay('--to', to) };
    return withInstallation('store and routes', async ({ countersign, config }) => {
      const last = period.to ?? dayOf(Date.now());
      const first = period.from ?? dayOf(Date.parse(last) - (DEFAULT_DAYS - 1) * DAY_MS);
      const answer = await countersign.usage.read({ app, from: first, to: last });
      if (answer.kind === 'refused') throw new UsageError(answer.detail, 'usage');
      const { rows } = answer;
      // An app that is no longer configured has its history all the same.
      if (app !== undefined && rows.length === 0 && !config.apps.has(app))
        throw new UsageError(`There is no app '${app}'${nearestTo(app, [...config.apps.keys()])}`, 'usage');
      const groups = groupBy(rows, by);
      const total = addUp(rows);
      const question = { from: answer.from, to: answer.to, app, by };
      if (json === true)
        printJson({
          ...question,
          rows: groups.map(({ key, sum }) => ({ [by]: key, ...toJson(sum) })),
          total: toJson(total),
        });
      else print(toText(question, groups, total));
      return exitCodes.done;
    });
  },
});

/** What several rows come to; costs by currency. */
type Sum = Pick<UsageView, 'sent' | 'codes' | 'delivered' | 'failed' | 'approved'> & {
  readonly costs: readonly Money[];
  readonly wasted: readonly Money[];
  /** of `sent`: those whose price is not known */
  readonly unpriced: number;
};

function groupBy(rows: readonly UsageView[], by: Grouping): { key: string; sum: Sum }[] {
  const groups = Map.groupBy(rows, (row) => row[by] ?? 'none');
  const groupsInOrder = [...groups].map(([key, members]) => ({ key, sum: addUp(members) }));
  return by === 'day'
    ? groupsInOrder.toSorted((a, b) => (a.key < b.key ? -1 : 1))
    : groupsInOrder.toSorted((a, b) => b.sum.sent - a.sum.sent || (a.key < b.key ? -1 : 1));
}

function addUp(rows: readonly UsageView[]): Sum {
  const total = (field: 'sent' | 'codes' | 'delivered' | 'failed' | 'approved') =>
    rows.reduce((sum, row) => sum + row[field], 0);
  return {
    sent: total('sent'),
    codes: total('codes'),
    delivered: total('delivered'),
    failed: total('failed'),
    approved: total('approved'),
    costs: byCurrency(rows.map(({ cost }) => cost)),
    wasted: byCurrency(rows.map(({ wastedCost }) => wastedCost)),
    unpriced: rows.reduce((sum, { cost, sent }) => sum + (cost === undefined ? sent : 0), 0),
  };
}

function byCurrency(amounts: readonly (Money | undefined)[]): Money[] {
  const sums = new Map<string, number>();
  for (const money of amounts) {
    if (money !== undefined) sums.set(money.currency, (sums.get(money.currency) ?? 0) + money.micros);
  }
  return [...sums].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([currency, micros]) => ({ micros, currency }));
}

// ---- what is printed --------------------------------------------------------------------------------------------

function toText(
  { from, to, app, by }: { from: string; to: string; app: string | undefined; by: Grouping },
  groups: readonly { key: string; sum: Sum }[],
  total: Sum,
): string {
  const heading = `${app === undefined ? 'All apps' : `App ${app}`}, ${from} to ${to} (UTC):`;
  if (groups.length === 0) return `${heading}\n\n  Nothing was sent.`;
  const rows = [
    [by.toUpperCase(), 'SENT', 'DELIVERED', 'FAILED', 'APPROVED', 'CONVERSION', 'COST', 'WASTED'],
    ...groups.map(({ key, sum }) => lineOf(key, sum)),
    ...(groups.length === 1 ? [] : [lineOf('total', total)]),
  ];
  const unpriced =
    total.unpriced === 0
      ? []
      : [
          `The price of ${countText(total.unpriced)} of them is not known, and not in the cost. Put what you pay into \`prices\` of the configuration.`,
        ];
  return [heading, columns(rows), ...unpriced].join('\n\n');
}

function lineOf(key: string, sum: Sum): string[] {
  const costs = (amounts: readonly Money[]) =>
    [...amounts.map((money) => formatMoney(money)), ...(sum.unpriced > 0 ? ['?'] : [])].join(' + ') || '–';
  return [
    key,
    countText(sum.sent),
    countText(sum.delivered),
    countText(sum.failed),
    countText(sum.approved),
    sum.codes === 0 ? '–' : `${((sum.approved / sum.codes) * 100).toFixed(1)} %`,
    costs(sum.costs),
    costs(sum.wasted),
  ];
}

function countText(count: number): string {
  return groupThousands(String(count));
}

function toJson({ costs, wasted, ...counts }: Sum): object {
  return {
    ...counts,
    conversion: counts.codes === 0 ? undefined : counts.approved / counts.codes,
    cost: costs.map(toAmount),
    wasted_cost: wasted.map(toAmount),
  };
}

// ---- what is asked ----------------------------------------------------------------------------------------------

function isGrouping(word: string): word is Grouping {
  return (groupings as readonly string[]).includes(word);
}

function readDay(option: string, given: string | undefined): string | undefined {
  if (given === undefined) return undefined;
  const at = Date.parse(`${given}T00:00:00Z`);
  // 2026-02-30 is read as the second of March.
  if (!/^\d{4}-\d{2}-\d{2}$/.test(given) || Number.isNaN(at) || dayOf(at) !== given)
    throw new UsageError(`${option} is a day like 2026-11-20, not '${given}'`, 'usage');
  return given;
}
