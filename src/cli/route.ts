import type { Composed } from '../compose.ts';
import type { Config } from '../config/config.ts';
import { nearestTo } from '../domain/nearest.ts';
import { formatMoney } from '../domain/price.ts';
import { type Channel, channels } from '../domain/provider.ts';
import { INBOX } from '../domain/route.ts';
import { toAmount } from '../http/amount.ts';
import type { RouteHopView, RouteView } from '../service/explain-route.ts';
import { DEFAULT_APP } from '../service/start-verification.ts';
import { appOption, defineCommand, expectPositionals, jsonOption } from './command.ts';
import { chooseApp, withInstallation } from './installation.ts';
import { columns, exitCodes, print, printError, printJson, printRefusal, problemBodyOf, UsageError } from './output.ts';
import { findRunningServer } from './running-server.ts';

const SERVER_PATIENCE_MS = 5000;

export const route = defineCommand({
  name: 'route',
  positionals: '<number>',
  description: `Shows which providers would be tried for a code to a number, in which order, by which channel and at which
price, and why not the others. Nothing is sent or counted.
Whether a provider is out of order knows the running server alone: it is asked where it takes callers without a key.
Exits with 1 when nobody would be tried.`,
  options: {
    app: appOption,
    channel: { type: 'string', value: 'NAME', help: `as a request that names it: ${channels.join(', ')}` },
    locale: { type: 'string', value: 'TAG', help: 'language of the text, e.g. ru' },
    country: { type: 'string', value: 'CC', help: 'ISO 3166-1, for a number in national form' },
    email: { type: 'boolean', help: 'as a request that gives an e-mail address' },
    json: jsonOption,
  },
  examples: ['route +998901234567', 'route +998901234567 --app taxi --channel voice'],
  async run({ app: named, channel, locale, country, email, json }, positionals) {
    const [to = ''] = expectPositionals('route', positionals, 'the number');
    if (channel !== undefined && !(channels as readonly string[]).includes(channel))
      throw new UsageError(`There is no channel '${channel}'${nearestTo(channel, channels)}`, 'route');
    return withInstallation('store and routes', async (composed) => {
      const app = chooseApp(composed, named, 'route');
      const request = {
        to,
        ...(channel === undefined ? {} : { channel: channel as Channel }),
        ...(locale === undefined ? {} : { locale }),
        ...(country === undefined ? {} : { country: country.toUpperCase() }),
      };
      const { routes } = composed.countersign;
      const answer = routes.explain({ ...request, app, allProviders: true, hasEmail: email === true });
      if (answer.kind === 'refused') return printRefusal(problemBodyOf(answer), json === true);
      const states = await findStates(composed, app, request);
      if (json === true) printJson(toJson(app, answer.route, states));
      else print(toText(composed.config, app, answer.route, states));
      if (answer.route.tried.length > 0) return exitCodes.done;
      printError(`no-provider: nobody would be tried; see what docs/configuration.md says of routes`);
      return exitCodes.operator;
    });
  },
});

/** How the providers are, by the one process that knows. */
type States =
  | {
      readonly kind: 'seen';
      readonly url: string;
      readonly byProvider: ReadonlyMap<string, State>;
      /** it tries others than the configuration at hand says */
      readonly differs: boolean;
    }
  | { readonly kind: 'unseen'; readonly why: string };

type State = { readonly state: string; readonly reason?: string; readonly open_until?: string };
type ServerRoute = { readonly tried: readonly (State & { readonly provider: string; readonly channel: string })[] };

async function findStates({ config, countersign }: Composed, app: string, request: object): Promise<States> {
  const server = await findRunningServer(config, await countersign.tokens.jwks());
  const place = `${config.host}:${config.port}`;
  if (server.kind === 'none')
    return { kind: 'unseen', why: `no server runs at ${place}; one that starts now tries all of them` };
  if (server.kind === 'other') return { kind: 'unseen', why: `what answers at ${place} works on another store` };
  const elsewhere = `they are those of the server at ${server.url}`;
  const ask = `GET ${server.url}/v1/providers tells them`;
  if (!server.hasInbox) return { kind: 'unseen', why: `${elsewhere}, which asks for a key in production mode: ${ask}` };
  const [firstApp] = config.apps.keys();
  // Without a key the server takes a caller on this machine for this app, see `http/authenticate.ts`.
  if (app !== (config.apps.has(DEFAULT_APP) ? DEFAULT_APP : firstApp))
    return { kind: 'unseen', why: `${elsewhere}, which asks for a key of app '${app}': ${ask}` };
  try {
    const response = await fetch(`${server.url}/v1/routes/explain`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(request),
      signal: AbortSignal.timeout(SERVER_PATIENCE_MS),
    });
    if (!response.ok) return { kind: 'unseen', why: `${elsewhere}, which answered with ${response.status}` };
    const { tried } = (await response.json()) as ServerRoute;
    const nameOf = ({ provider, channel }: { provider: string; channel: string }) => `${provider} by ${channel}`;
    const own = countersign.routes.explain({ ...(request as { to: string }), app });
    const ours = own.kind === 'explained' ? own.route.tried.map(nameOf) : [];
    return {
      kind: 'seen',
      url: server.url,
      byProvider: new Map(tried.map(({ provider, ...state }) => [provider, state])),
      // Not the order: weights draw it anew each time.
      differs: tried.map(nameOf).sort().join() !== ours.sort().join(),
    };
  } catch (error) {
    return { kind: 'unseen', why: `${elsewhere}, which did not answer (${(error as Error).message})` };
  }
}

// ---- what is printed --------------------------------------------------------------------------------------------

function toText(config: Config, app: string, view: RouteView, states: States): string {
  const { tried, passedBy } = view;
  const country = view.country === undefined ? 'no country' : view.country;
  const size = view.segments === 1 ? '1 segment' : `${view.segments} segments`;
  const heading = `A code to ${view.to} (${country}, ${view.lineType}) from app ${app}, by its route ${view.route}; text in ${view.locale}, ${size}:`;
  const isSeen = states.kind === 'seen';
  const table = columns([
    ['  ', 'PROVIDER', 'CHANNEL', 'PRICE', 'WAITS', ...(isSeen ? ['STATE'] : [])],
    ...tried.map((hop, index) => [
      `${index + 1}.`,
      hop.provider,
      hop.channel,
      priceText(hop),
      `${hop.deadlineMs / 1000} s`,
      ...(isSeen ? [stateText(states.byProvider.get(hop.provider))] : []),
    ]),
  ]);
  // Of the inbox nobody expects to be in a route.
  const others = columns(
    passedBy.filter(({ provider }) => provider !== INBOX).map(({ provider, why }) => [`  ${provider}`, why]),
  );
  return [
    heading,
    tried.length === 0 ? '  Nobody would be tried.' : table,
    ...weightNotes(config.apps.get(app)?.routes.get(view.route) ?? []),
    ...(others === '' ? [] : [`Not tried:\n${others}`]),
    isSeen ? `States are those of the server at ${states.url}.` : `States are not seen from here: ${states.why}.`,
    ...(isSeen && states.differs
      ? ['That server tries others: it was started with another configuration. Start it again.']
      : []),
  ].join('\n\n');
}

function weightNotes(entries: readonly { readonly provider: string; readonly weight: number | undefined }[]): string[] {
  const weighted = entries.flatMap(({ provider, weight }) => (weight === undefined ? [] : [`${provider} ${weight}`]));
  return weighted.length === 0
    ? []
    : [`Neighbours with weights (${weighted.join(', ')}) are put in order anew for each message.`];
}

function priceText({ provider, price }: RouteHopView): string {
  if (provider === INBOX) return '–';
  return price === undefined ? 'not known' : formatMoney(price);
}

function stateText(state: State | undefined): string {
  if (state === undefined) return 'not told';
  const why = state.reason === undefined ? '' : ` (${state.reason})`;
  if (state.state === 'open')
    return `out of order${why}${state.open_until === undefined ? '' : ` until ${state.open_until}`}`;
  return state.state === 'trial' ? `on trial${why}` : 'ready';
}

function toJson(app: string, view: RouteView, states: States): object {
  const stateOf = ({ provider }: RouteHopView): Partial<State> =>
    states.kind === 'seen' ? (states.byProvider.get(provider) ?? {}) : {};
  return {
    app,
    to: view.to,
    country: view.country,
    line_type: view.lineType,
    locale: view.locale,
    segments: view.segments,
    route: view.route,
    tried: view.tried.map((hop) => {
      const { state, reason, open_until } = stateOf(hop);
      return {
        provider: hop.provider,
        channel: hop.channel,
        state,
        reason,
        open_until,
        price: hop.price === undefined ? undefined : toAmount(hop.price),
        deadline_seconds: hop.deadlineMs / 1000,
      };
    }),
    passed_by: view.passedBy,
    states: states.kind === 'seen' ? { seen: true, server: states.url } : { seen: false, why: states.why },
  };
}
