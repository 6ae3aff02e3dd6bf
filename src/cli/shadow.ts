import type { Config } from '../config/config.ts';
import { nearestTo } from '../domain/nearest.ts';
import { groupThousands } from '../domain/price.ts';
import type { ShadowEntry } from '../domain/shadow.ts';
import { dayOf } from '../domain/usage.ts';
import { defineCommand, expectPositionals, jsonOption } from './command.ts';
import { withInstallation } from './installation.ts';
import { exitCodes, print, printJson, UsageError } from './output.ts';

const DAY_MS = 86_400_000;
const DEFAULT_DAYS = 7;
const MOST_DAYS = 400;
/** Fewer say little: one answer in fifty that differs is then seen with 87 %. */
const ENOUGH_COMPARED = 100;

export const shadowReport = defineCommand({
  name: 'shadow report',
  positionals: '',
  description: `Shows how the answers of old back ends differ from ours, as shadow mode has compared them: of all apps, the last
${DEFAULT_DAYS} days (UTC) unless told otherwise. Compared are the status and the shape of the JSON, not its values.
It reads the store, beside a running server or without one.`,
  options: {
    app: { type: 'string', value: 'APP', help: 'only this app' },
    days: {
      type: 'string',
      value: 'N',
      help: `the last N days, today included; ${DEFAULT_DAYS} unless told otherwise`,
    },
    json: jsonOption,
  },
  examples: ['shadow report', 'shadow report --app taxi --days 1'],
  async run({ app, days, json }, positionals) {
    expectPositionals('shadow report', positionals);
    const length = readDays(days);
    return withInstallation('store', async ({ countersign, config }) => {
      const now = Date.now();
      const period = { from: dayOf(now - (length - 1) * DAY_MS), to: dayOf(now) };
      const entries = await countersign.shadow.read({ app, ...period });
      // An app that is no longer configured has its history all the same.
      if (app !== undefined && entries.length === 0 && !config.apps.has(app))
        throw new UsageError(`There is no app '${app}'${nearestTo(app, [...config.apps.keys()])}`, 'shadow report');
      const routes = reportsOf(entries, config, app);
      const verdict = verdictOf(routes);
      if (json === true) printJson({ ...period, app, routes: routes.map(toJson), ...verdict });
      else print(toText({ ...period, app }, routes, verdict.verdict));
      return exitCodes.done;
    });
  },
});

/** What is known of one route of an app. */
type RouteReport = {
  readonly app: string;
  readonly dialect: string;
  readonly route: string;
  readonly same: number;
  readonly different: number;
  readonly notCompared: number;
  readonly upstreamFailed: number;
  /** how often the old back end said yes, of what was compared */
  readonly taken: number;
  /** the most frequent first */
  readonly differences: readonly Difference[];
  /** why the old back end gave no answer, the most frequent first */
  readonly failures: readonly { readonly why: string; readonly count: number }[];
};

type Difference = Pick<
  ShadowEntry,
  'difference' | 'count' | 'upstreamStatus' | 'ourStatus' | 'upstreamExample' | 'ourExample'
>;

/** Also of routes that are in shadow mode and that nobody has called. */
function reportsOf(entries: readonly ShadowEntry[], config: Config, app: string | undefined): RouteReport[] {
  const groups = new Map<string, { app: string; dialect: string; route: string; entries: ShadowEntry[] }>();
  const groupOf = (of: { app: string; dialect: string; route: string }) => {
    const key = JSON.stringify([of.app, of.dialect, of.route]);
    const group = groups.get(key) ?? { app: of.app, dialect: of.dialect, route: of.route, entries: [] };
    groups.set(key, group);
    return group;
  };
  for (const mounted of config.dialects) {
    if (mounted.upstream === undefined || (app ?? mounted.app) !== mounted.app) continue;
    for (const { method = 'POST', path } of mounted.dialect.routes)
      groupOf({ app: mounted.app, dialect: mounted.dialect.id, route: `${method} ${path}` });
  }
  for (const entry of entries) groupOf(entry).entries.push(entry);
  return [...groups.values()].map(reportOf);
}

function reportOf({
  entries,
  ...of
}: {
  app: string;
  dialect: string;
  route: string;
  entries: ShadowEntry[];
}): RouteReport {
  const counted = (outcome: ShadowEntry['outcome']) => sumOf(entries.filter((entry) => entry.outcome === outcome));
  const failures = Map.groupBy(
    entries.filter(({ outcome }) => outcome === 'upstream-failed'),
    ({ difference }) => difference,
  );
  // The statuses are in the text of the difference where they differ, but for one that the same shapes have.
  const differences = Map.groupBy(
    entries.filter(({ outcome }) => outcome === 'different'),
    ({ upstreamStatus, difference }) => `${upstreamStatus} ${difference}`,
  );
  const byCount = (a: { count: number }, b: { count: number }) => b.count - a.count;
  return {
    ...of,
    same: counted('same'),
    different: counted('different'),
    notCompared: counted('not-compared'),
    upstreamFailed: counted('upstream-failed'),
    taken: sumOf(entries.filter(({ upstreamStatus = 0 }) => upstreamStatus >= 200 && upstreamStatus < 300)),
    differences: [...differences.values()]
      // The latest example: the entries are in the order of their days.
      .flatMap((same) => same.slice(-1).map((last) => ({ ...last, count: sumOf(same) })))
      .sort(byCount),
    failures: [...failures].map(([why, same]) => ({ why, count: sumOf(same) })).sort(byCount),
  };
}

function sumOf(entries: readonly ShadowEntry[]): number {
  return entries.reduce((sum, { count }) => sum + count, 0);
}

// ---- is it ready? -----------------------------------------------------------------------------------------------

function verdictOf(routes: readonly RouteReport[]): { readonly ready: boolean; readonly verdict: string } {
  const [compared, different] = [routes.map(comparedOf), routes.map((route) => route.different)].map((counts) =>
    counts.reduce((sum, count) => sum + count, 0),
  ) as [number, number];
  const no = (verdict: string) => ({ ready: false, verdict });
  if (routes.length === 0)
    return no('No app is in shadow mode: give its dialect the address of the old back end, shadow: { upstream: … }.');
  if (compared === 0) return no('Nothing was compared yet.');
  if (different > 0)
    return no(
      `Not ready: ${countText(different)} of ${countText(compared)} answers would be different (${percent(different, compared)}).`,
    );
  const few = routes.find((route) => comparedOf(route) < ENOUGH_COMPARED);
  if (few !== undefined)
    return no(
      `No difference so far, but too little was seen: ${few.route} of ${few.app} was ${times(comparedOf(few))}, and ${ENOUGH_COMPARED} would say something.`,
    );
  const refused = routes.find(({ taken }) => taken === 0);
  if (refused !== undefined)
    return no(`No difference so far, but the old back end never said yes to ${refused.route} of ${refused.app}.`);
  return { ready: true, verdict: `It looks ready: all of ${countText(compared)} answers would be the same.` };
}

function comparedOf({ same, different }: RouteReport): number {
  return same + different;
}

// ---- what is printed --------------------------------------------------------------------------------------------

function toText(
  { from, to, app }: { from: string; to: string; app: string | undefined },
  routes: readonly RouteReport[],
  verdict: string,
): string {
  const heading = `${app === undefined ? 'All apps' : `App ${app}`}, ${from} to ${to} (UTC):`;
  return [heading, ...routes.map(routeText), verdict].join('\n\n');
}

function routeText(report: RouteReport): string {
  const { app, dialect, route, same, different, notCompared, upstreamFailed } = report;
  const compared = comparedOf(report);
  const counts = [
    `compared ${countText(compared)}`,
    `same ${countText(same)}`,
    `different ${countText(different)}${compared === 0 ? '' : ` (${percent(different, compared)})`}`,
    ...(notCompared === 0 ? [] : [`not compared ${countText(notCompared)}`]),
    ...(upstreamFailed === 0 ? [] : [`without an answer of the old back end ${countText(upstreamFailed)}`]),
  ];
  return [
    `${route}  (${app}, ${dialect})`,
    `  ${counts.join(', ')}`,
    ...report.failures.map(({ why, count }) => `  ${countText(count)} × no answer: ${why}`),
    ...report.differences.flatMap((each) => [
      `  ${countText(each.count)} × ${each.difference}`,
      `    old ${each.upstreamStatus}: ${each.upstreamExample || '(nothing)'}`,
      `    new ${each.ourStatus}: ${each.ourExample || '(nothing)'}`,
    ]),
  ].join('\n');
}

function toJson(report: RouteReport): object {
  return {
    app: report.app,
    dialect: report.dialect,
    route: report.route,
    compared: comparedOf(report),
    same: report.same,
    different: report.different,
    not_compared: report.notCompared,
    upstream_failed: report.upstreamFailed,
    differences: report.differences.map((each) => ({
      difference: each.difference,
      count: each.count,
      upstream: { status: each.upstreamStatus, example: each.upstreamExample },
      ours: { status: each.ourStatus, example: each.ourExample },
    })),
    failures: report.failures,
  };
}

function countText(count: number): string {
  return groupThousands(String(count));
}

function times(count: number): string {
  if (count === 0) return 'never compared';
  return count === 1 ? 'compared once' : `compared ${countText(count)} times`;
}

/** Never 0 % of something: one in ten thousand is what somebody has to look at. */
function percent(part: number, whole: number): string {
  const share = (part / whole) * 100;
  return part > 0 && share < 0.1 ? 'below 0.1 %' : `${share.toFixed(1)} %`;
}

function readDays(given: string | undefined): number {
  if (given === undefined) return DEFAULT_DAYS;
  const days = Number(given);
  if (!/^\d{1,3}$/.test(given) || days < 1 || days > MOST_DAYS)
    throw new UsageError(`--days is a number from 1 to ${MOST_DAYS}, not '${given}'`, 'shadow report');
  return days;
}
