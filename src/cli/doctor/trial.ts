import { setTimeout as delay } from 'node:timers/promises';
import type { TObject } from 'typebox';
import { type Composed, compose } from '../../compose.ts';
import type { Config } from '../../config/config.ts';
import type { Dispatch } from '../../domain/message.ts';
import { formatMoney, type Money } from '../../domain/price.ts';
import type { DeliveryReport, ManagedProvider, MessagingProvider } from '../../domain/provider.ts';
import { INBOX } from '../../domain/route.ts';
import { costOf } from '../../domain/usage.ts';
import { toAmount } from '../../http/amount.ts';
import type { ProviderContext, ProviderDefinition } from '../../provider-kit/define-provider.ts';
import type { App } from '../../service/app.ts';
import type { RouteHopView, RouteView } from '../../service/explain-route.ts';
import { printError } from '../output.ts';
import { type Finding, fault, fine, skipped } from './finding.ts';
import { fixOfCode, fixOfReason } from './fixes.ts';

const REPORT_PATIENCE_MS = 20_000;
const LOOK_EVERY_MS = 500;
/** Vendors count such requests too. */
const ASK_EVERY_MS = 2000;
const ASK_DEADLINE_MS = 3000;
const PROBE_DEADLINE_MS = 5000;
/** A purpose of its own: the code could approve nothing that anybody asks about. */
const PURPOSE = 'doctor';

type AnyProvider = MessagingProvider | ManagedProvider;

export type TrialRequest = {
  readonly app: string;
  readonly to: string;
  readonly country: string | undefined;
  /** this one alone, whatever the route says */
  readonly provider: string | undefined;
};

export type Trial = {
  readonly findings: readonly Finding[];
  /** what became of the message, for programs; undefined when nothing was handed over */
  readonly sent: object | undefined;
};

/**
 * Sends one message with a code as the app would, and waits for what becomes of it. The verification is ended at once: its
 * code is worth nothing, and no other provider is paid for it after a report.
 */
export async function sendTrial(config: Config, request: TrialRequest): Promise<Trial> {
  const providers = new Map<string, AnyProvider>();
  const composed = await compose(watching(forced(config, request), providers), { housekeeping: false });
  try {
    const plan = planOf(composed, request);
    if ('finding' in plan) return { findings: [plan.finding], sent: undefined };
    announce(plan.route);
    return await send(composed, request, plan.route.to, providers);
  } finally {
    await composed.countersign.close();
  }
}

function forced(config: Config, { app: id, provider }: TrialRequest): Config {
  const app = config.apps.get(id);
  if (provider === undefined || app === undefined) return config;
  const entry = { provider, channel: undefined, lineTypes: undefined, weight: undefined, isImplied: false };
  const routed: App = { ...app, routes: new Map([['*', [entry]]]) };
  return { ...config, apps: new Map([...config.apps, [id, routed]]) };
}

/** Keeps hold of the opened providers: asking one about its message takes the connection that it has. */
function watching(config: Config, opened: Map<string, AnyProvider>): Config {
  const providers = config.providers.map((each) => {
    const create = async (settings: Record<string, unknown>, context: ProviderContext) => {
      const provider = await each.definition.create(settings, context);
      opened.set(each.id, provider);
      return provider;
    };
    return { ...each, definition: { ...each.definition, create } as ProviderDefinition<TObject> };
  });
  return { ...config, providers };
}

function planOf(
  { countersign }: Composed,
  { app, to, country, provider }: TrialRequest,
): { readonly route: RouteView } | { readonly finding: Finding } {
  const answer = countersign.routes.explain({ app, to, ...(country === undefined ? {} : { country }) });
  if (answer.kind === 'refused') {
    const fix =
      answer.code === 'number-invalid'
        ? 'Write the number internationally: + and country code, e.g. +998901234567.'
        : 'See docs/problems.md, or try another number.';
    return { finding: fault('send', `nothing was sent: ${answer.code}: ${answer.detail}`, fix) };
  }
  const [first] = answer.route.tried;
  if (first === undefined) {
    const whys = answer.route.passedBy.map((each) => `${each.provider}: ${each.why}`).join('; ');
    return {
      finding: fault(
        'send',
        `nothing was sent: no provider would take it (${whys || 'the route is empty'})`,
        `Name a provider that sends there in apps.${app}.routes; \`route ${to}\` shows the present one.`,
      ),
    };
  }
  if (first.provider === INBOX && provider === undefined) {
    const detail =
      'nothing was sent: messages stop in the inbox; set the credentials of a provider, or name one with --provider';
    return { finding: skipped('send', detail) };
  }
  return answer;
}

function announce({ to, tried }: RouteView): void {
  const nameOf = ({ provider, channel, price }: RouteHopView) =>
    `${provider} by ${channel} (${price === undefined ? 'price not known' : `about ${formatMoney(price)}`})`;
  printError(
    `this sends one real message to ${to}, which costs money: through ${tried.map(nameOf).join(', or else ')}`,
  );
}

async function send(
  { countersign, config }: Composed,
  { app, to, country }: TrialRequest,
  number: string,
  providers: ReadonlyMap<string, AnyProvider>,
): Promise<Trial> {
  const startedAt = Date.now();
  const answer = await countersign.verifications.start({
    app,
    to,
    purpose: PURPOSE,
    ...(country === undefined ? {} : { country }),
  });
  if (answer.kind === 'started') await countersign.verifications.cancel({ app, id: answer.verification.id });
  const list = await countersign.messages.list({ app, to: number, limit: 1 });
  const [message] = list.kind === 'found' ? list.messages : [];
  if (message === undefined || message.createdAt < startedAt) {
    // A limit, for one: nothing was stored.
    const detail = answer.kind === 'refused' ? `${answer.code}: ${answer.detail}` : 'the store does not know it';
    return {
      findings: [fault('send', `nothing was sent: ${detail}`, 'Try again later, or another number.')],
      sent: undefined,
    };
  }
  const findings: Finding[] = [];
  let last: Dispatch | undefined;
  for (const dispatch of message.dispatches) {
    const isTaken = dispatch.providerMessageId !== undefined;
    last = isTaken ? await followUp(countersign, app, message.id, dispatch, config, providers) : dispatch;
    findings.push(await findingOf(config, providers.get(dispatch.provider), last, Date.now() - startedAt));
  }
  if (last === undefined) {
    const detail = answer.kind === 'refused' ? `${answer.code}: ${answer.detail}` : 'no provider was asked';
    return { findings: [fault('send', `nothing was sent: ${detail}`, 'Try again in a moment.')], sent: undefined };
  }
  const cost = costOf(last);
  const sent = {
    app,
    to: number,
    provider: last.provider,
    channel: last.channel,
    provider_message: last.providerMessageId,
    state: last.state,
    reason: last.reason,
    code: last.errorCode,
    cost: cost === undefined ? undefined : toAmount(cost),
  };
  return { findings, sent };
}

/** The dispatch as its report leaves it, whichever way that comes: to a server of this store, by its connection, or asked for. */
async function followUp(
  { messages }: Composed['countersign'],
  app: string,
  messageId: string,
  dispatch: Dispatch,
  { publicUrl }: Config,
  providers: ReadonlyMap<string, AnyProvider>,
): Promise<Dispatch> {
  const provider = providers.get(dispatch.provider);
  const { providerMessageId = '' } = dispatch;
  const canCome = provider?.onReport !== undefined || (provider?.parseReport !== undefined && publicUrl !== undefined);
  if (!canCome && provider?.fetchReport === undefined) return dispatch;
  let current = dispatch;
  let askAt = Date.now() + LOOK_EVERY_MS;
  for (const endsAt = Date.now() + REPORT_PATIENCE_MS; Date.now() < endsAt && !isOver(current); ) {
    await delay(LOOK_EVERY_MS);
    const found = await messages.get({ app, id: messageId });
    const stored = found.kind === 'found' ? found.message.dispatches : [];
    current = stored.find((each) => each.providerMessageId === providerMessageId) ?? current;
    if (isOver(current) || Date.now() < askAt) continue;
    askAt = Date.now() + ASK_EVERY_MS;
    const report = await provider
      ?.fetchReport?.(providerMessageId, AbortSignal.timeout(ASK_DEADLINE_MS))
      .catch(() => undefined);
    if (report !== undefined) current = reported(current, report);
  }
  return current;
}

function reported(dispatch: Dispatch, { state, reason, code, cost }: DeliveryReport): Dispatch {
  return {
    ...dispatch,
    state,
    reason,
    errorCode: code,
    reportedCost: cost ?? dispatch.reportedCost,
  };
}

function isOver({ state }: Dispatch): boolean {
  return state === 'delivered' || state === 'undelivered' || state === 'failed';
}

async function findingOf(
  config: Config,
  provider: AnyProvider | undefined,
  dispatch: Dispatch,
  tookMs: number,
): Promise<Finding> {
  const { provider: id, channel, state, reason, errorCode = 'no code', providerMessageId } = dispatch;
  const check = `send ${id}`;
  const taken = `took it by ${channel} as ${providerMessageId}${costText(dispatch)}`;
  if (reason !== undefined || state === 'failed' || state === 'undelivered') {
    const said = `${reason ?? state} (${errorCode})`;
    const detail =
      providerMessageId === undefined ? `refused it: ${said}` : `${taken}, and then said: ${state}, ${said}`;
    const definition = config.providers.find((each) => each.id === id)?.definition.id ?? id;
    return fault(
      check,
      detail,
      fixOfCode(definition, errorCode) ?? (await fixOfProbe(provider, dispatch)) ?? fixOfReason(reason),
    );
  }
  if (state === 'delivered') return fine(check, `${taken}, and delivered it within ${Math.ceil(tookMs / 1000)} s`);
  const patience = `${REPORT_PATIENCE_MS / 1000} s`;
  const word =
    tookMs < REPORT_PATIENCE_MS
      ? 'it cannot be asked whether it arrived: look at the phone'
      : `no word within ${patience} that it arrived (${state}): look at the phone`;
  return fine(check, `${taken}; ${word}`);
}

/** Where the account or the connection is at fault, the provider file has the better sentence. */
async function fixOfProbe(provider: AnyProvider | undefined, { reason }: Dispatch): Promise<string | undefined> {
  if (provider?.probe === undefined || (reason !== 'account' && reason !== 'unavailable')) return undefined;
  const outcome = await provider.probe(AbortSignal.timeout(PROBE_DEADLINE_MS)).catch(() => undefined);
  return outcome?.kind === 'failed' ? outcome.fix : undefined;
}

function costText(dispatch: Dispatch): string {
  const cost: Money | undefined = costOf(dispatch);
  if (cost === undefined) return ', at a price that is not known';
  return `, for ${formatMoney(cost)} ${dispatch.reportedCost === undefined ? 'by the price table' : 'by its own word'}`;
}
