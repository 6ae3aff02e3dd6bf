import { normalizeCode } from '../domain/code.ts';
import { INBOX } from '../domain/route.ts';
import { type ShadowEntry, shadowAppOf } from '../domain/shadow.ts';
import type { App } from './app.ts';
import { appOf, type OpenProvider, type ServiceContext } from './context.ts';
import { type Countersign, countersignOf } from './countersign.ts';
import { ProviderHealth } from './provider-health.ts';
import { DEFAULT_APP } from './start-verification.ts';
import type { UnderWay } from './under-way.ts';

/** What apps in shadow mode are compared by. */
export type Shadow = {
  /**
   * The service that the shadows of those apps are asked (`shadowAppOf`). It knows no other app, sends to nobody, and
   * takes a code for right when the old back end did: the person types that one's code, which this side cannot know.
   * What is no code by its form is refused as ever.
   */
  judging(tookCode: boolean): Countersign;
  record(entry: ShadowEntry): Promise<void>;
  /** what `close` waits for */
  readonly underWay: UnderWay;
};

/** Who takes all messages there. */
const NOBODY = 'nobody';

/**
 * A service of its own beside the real one, over the same store: so nobody else's lists, health, keys or routes know of it.
 * @param ids the apps in shadow mode
 */
export function openShadow(context: ServiceContext, ids: Iterable<string>): Shadow {
  const { store, underWay, now, log } = context;
  const apps = new Map<string, App>();
  for (const id of ids) {
    const app = appOf(context, id);
    const shadow = { ...app, id: shadowAppOf(id), budget: undefined, bearer: undefined, twilioVerify: undefined };
    apps.set(shadow.id, shadow);
  }
  const shadowed: ServiceContext = {
    ...context,
    apps,
    providers: new Map([...context.providers].map(([id, provider]) => [id, standInFor(provider)])),
    health: new ProviderHealth(now, log),
  };
  const service = countersignOf(shadowed, async () => {});
  const { start, check } = service.verifications;
  const codeLengthOf = (app = DEFAULT_APP) => appOf(shadowed, app).codeLength;
  return {
    judging: (tookCode) => ({
      ...service,
      verifications: {
        ...service.verifications,
        // One that is known, so that the right one and one that is surely wrong can be given back.
        start: (request) => start({ ...request, code: rightCode(codeLengthOf(request.app)) }),
        check(request) {
          const length = codeLengthOf(request.app);
          if (normalizeCode(request.code, length) === undefined) return check(request);
          return check({ ...request, code: tookCode ? rightCode(length) : wrongCode(length) });
        },
      },
    }),
    record: (entry) => store.recordShadow(entry),
    underWay,
  };
}

function rightCode(length: number): string {
  return '1'.repeat(length);
}

function wrongCode(length: number): string {
  return '2'.repeat(length);
}

/**
 * Takes what the provider would take, and drops it: so a number that no route covers is refused as it would be. The inbox
 * keeps its name, because dialects show the codes of no other.
 */
function standInFor({ id, channels, countries, codesOnly, deadlineMs }: OpenProvider): OpenProvider {
  const name = id === INBOX ? INBOX : NOBODY;
  return {
    id: name,
    definitionId: name,
    kind: 'messaging',
    channels,
    countries,
    codesOnly,
    deadlineMs,
    maxPerSecond: undefined,
    reportTimeoutMs: undefined,
    provider: {
      send: async ({ messageId }) => ({ kind: 'accepted', providerMessageId: messageId }),
    },
  };
}
