import type { Static, TObject } from 'typebox';
import Value from 'typebox/value';
import { nearestTo } from '../domain/nearest.ts';
import type { ProviderDefinition } from '../provider-kit/define-provider.ts';
import type { Config, ConfiguredProvider, Environment } from './config.ts';
import { faultsOf, isRecord } from './faults.ts';
import { CommonProviderSchema } from './schema.ts';
import type { NamedVariables } from './variables.ts';

/** The providers that the file and the environment open, with their settings checked; what is wrong goes into `faults`. */
export function configuredProviders(
  fromFile: unknown,
  environment: Environment,
  named: NamedVariables,
  builtIn: readonly ProviderDefinition<TObject>[],
  faults: string[],
): Pick<Config, 'providers' | 'switchedOff'> {
  const entries = typeof fromFile === 'object' && fromFile !== null ? (fromFile as Record<string, unknown>) : {};
  const definitions = new Map(builtIn.map((definition) => [definition.id, definition]));
  const ids = new Set([...builtIn.map(({ id }) => id), ...Object.keys(entries)]);
  const providers: ConfiguredProvider[] = [];
  const switchedOff: Config['switchedOff'][number][] = [];
  for (const id of ids) {
    const entry = splitEntry(entries[id]);
    const definition = entry.definition ?? definitions.get(entry.provider ?? id);
    if (definition === undefined) {
      const [place, name] = entry.provider === undefined ? ['', id] : ['.provider', entry.provider];
      const nearest = nearestTo(name, [...definitions.keys()]);
      faults.push(`providers.${id}${place} is not a provider that Countersign knows${nearest}`);
      continue;
    }
    const switchVariable = `${variablePrefixOf(id)}_ENABLED`;
    const position = environment[switchVariable]?.trim() ?? '';
    if (/^(0|false|no|off)$/i.test(position)) {
      switchedOff.push({ id, variable: switchVariable });
      continue;
    }
    const variableOf = new Map<string, string>();
    const { settings, common } = splitCommon(
      named.fill(entry.settings, `providers.${id}`, faults),
      id,
      environment,
      variableOf,
    );
    // A second account of the same vendor has settings of its own, and the variables are the first one's.
    const ownVariables = definition.id === id ? Object.entries(definition.environment) : [];
    for (const [variable, key] of ownVariables) {
      variableOf.set(`providers.${id}.${key}`, variable);
      // Pasted credentials come with stray spaces, and providers then only say "authentication failed".
      const value = environment[variable]?.trim();
      if (value !== undefined && value !== '') settings[key] = value;
    }
    if (entries[id] === undefined && !isEnabledBy(environment, definition, builtIn)) {
      const own = Object.keys(definition.environment);
      // Messages that were meant for real phones would go to the inbox, and their codes into answers.
      if (
        /^(1|true|yes|on)$/i.test(position) &&
        own.length > 0 &&
        !own.some((variable) => environment[variable]?.trim())
      )
        faults.push(`${switchVariable} is ${position}, and none of its other variables is set: ${own.join(', ')}`);
      continue;
    }
    // A provider that somebody meant to take out must not go on sending for a word that is not known.
    if (!/^(|1|true|yes|on)$/i.test(position)) {
      faults.push(`${switchVariable} must be true or false, and is ${JSON.stringify(position.slice(0, 40))}`);
    }
    const filled = Value.Default(definition.settings, Value.Clone(settings)) as Record<string, unknown>;
    const found = faultsOf(definition.settings, filled, `providers.${id}`, (path) => {
      const variable = variableOf.get(path);
      return variable === undefined ? path : entries[id] === undefined ? variable : `${path} (${variable})`;
    });
    faults.push(...found);
    if (found.length === 0) faults.push(...(definition.faults?.(filled, `providers.${id}`) ?? []));
    const limits = Value.Default(CommonProviderSchema, Value.Clone(common)) as Static<typeof CommonProviderSchema>;
    faults.push(...faultsOf(CommonProviderSchema, limits, `providers.${id}`, (path) => variableOf.get(path) ?? path));
    const { deadlineSeconds, maxPerSecond, reportTimeoutSeconds } = limits;
    providers.push({
      id,
      definition,
      settings: filled,
      common: {
        deadlineMs: deadlineSeconds * 1000,
        maxPerSecond,
        reportTimeoutMs: reportTimeoutSeconds === undefined ? undefined : reportTimeoutSeconds * 1000,
      },
    });
  }
  return { providers, switchedOff };
}

/**
 * Do the variables open this provider? One that is opened by a variable of its own alone takes the account's with it:
 * Twilio Verify with its service SID does not mean that messages are to go through Twilio Messaging, which has no sender then.
 */
function isEnabledBy(
  environment: Environment,
  { id, enabledBy, environment: variablesOfIt }: ProviderDefinition<TObject>,
  builtIn: readonly ProviderDefinition<TObject>[],
): boolean {
  const isSet = (variable: string) => Boolean(environment[variable]?.trim());
  if (enabledBy !== undefined) return isSet(enabledBy);
  const others = builtIn.filter((each) => each.id !== id && each.enabledBy !== undefined && isSet(each.enabledBy));
  const explained = new Set(others.flatMap((each) => Object.keys(each.environment)));
  return Object.keys(variablesOfIt).some((variable) => isSet(variable) && !explained.has(variable));
}

/** What every provider may be told, out of its entry and of `<PROVIDER>_…` variables. */
function splitCommon(
  entry: Record<string, unknown>,
  id: string,
  environment: Environment,
  variableOf: Map<string, string>,
): { settings: Record<string, unknown>; common: Record<string, unknown> } {
  const settings = { ...entry };
  const common: Record<string, unknown> = {};
  for (const key of Object.keys(CommonProviderSchema.properties)) {
    if (key in settings) common[key] = settings[key];
    delete settings[key];
    const variable = `${variablePrefixOf(id)}_${key.replace(/[A-Z]/g, '_$&').toUpperCase()}`;
    const value = environment[variable]?.trim();
    if (value === undefined || value === '') continue;
    common[key] = /^\d+(\.\d+)?$/.test(value) ? Number(value) : value;
    variableOf.set(`providers.${id}.${key}`, variable);
  }
  return { settings, common };
}

/** `twilio-voice` → `TWILIO_VOICE` */
function variablePrefixOf(id: string): string {
  return id.toUpperCase().replaceAll('-', '_');
}

/**
 * An entry is a built-in provider's settings, a definition of the user's own, or `{ definition, …settings }`;
 * `{ provider: 'http', …settings }` is a built-in one under another name, for files that cannot import it.
 */
function splitEntry(entry: unknown): {
  definition: ProviderDefinition<TObject> | undefined;
  provider: string | undefined;
  settings: Record<string, unknown>;
} {
  if (!isRecord(entry)) return { definition: undefined, provider: undefined, settings: {} };
  if ('create' in entry) return { definition: entry as ProviderDefinition<TObject>, provider: undefined, settings: {} };
  const { definition, provider, ...settings } = entry as {
    definition?: ProviderDefinition<TObject>;
    provider?: unknown;
  };
  return { definition, provider: provider === undefined ? undefined : String(provider), settings };
}
