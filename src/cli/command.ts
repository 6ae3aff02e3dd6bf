import { parseArgs } from 'node:util';
import { nearestTo } from '../domain/nearest.ts';
import { columns, type ExitCode, programName, UsageError } from './output.ts';

type Option = {
  readonly type: 'string' | 'boolean';
  /** what stands for the value in the help, e.g. `APP` */
  readonly value?: string;
  readonly help: string;
};

export type Options = Readonly<Record<string, Option>>;

type Values<Table extends Options> = {
  readonly [Name in keyof Table]: (Table[Name]['type'] extends 'boolean' ? boolean : string) | undefined;
};

/** One command, in a file of its own that is loaded only when it is called. */
export type Command<Table extends Options = Options> = {
  /** the words behind the program's name, e.g. `keys create` */
  readonly name: string;
  /** as in the help: `<id> <code>` */
  readonly positionals: string;
  readonly description: string;
  readonly options: Table;
  readonly examples?: readonly string[];
  run(values: Values<Table>, positionals: readonly string[]): Promise<ExitCode | undefined>;
};

/** Infers the types of the options' values. */
export function defineCommand<const Table extends Options>(command: Command<Table>): Command {
  return command as unknown as Command;
}

export const jsonOption = { type: 'boolean', help: 'print JSON, for programs' } as const;
export const appOption = {
  type: 'string',
  value: 'APP',
  help: "the app; may be left out where 'default' or only one is configured",
} as const;

/** @throws UsageError that names the nearest option */
export function readArguments(
  command: Command,
  args: readonly string[],
): { readonly values: Values<Options>; readonly positionals: readonly string[] } {
  const names = [...Object.keys(command.options), 'help'];
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: Object.fromEntries(Object.entries(command.options).map(([name, { type }]) => [name, { type }])),
      allowPositionals: true,
      strict: true,
    });
    return { values: values as Values<Options>, positionals };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (!code?.startsWith('ERR_PARSE_ARGS')) throw error;
    const unknown = code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' ? /'--?([^'\s]+)'/.exec(message)?.[1] : undefined;
    throw new UsageError(
      unknown === undefined
        ? `${message.split('\n')[0]}`
        : `There is no option --${unknown}${nearestTo(unknown, names).replace(/(did you mean )(.+)\?$/, '$1--$2?')}`,
      command.name,
    );
  }
}

/** The values in their places. @throws UsageError when there are more or fewer than the help names */
export function expectPositionals(command: string, given: readonly string[], ...names: readonly string[]): string[] {
  if (given.length < names.length) throw new UsageError(`${names[given.length]} is missing`, command);
  const [extra] = given.slice(names.length);
  if (extra !== undefined) throw new UsageError(`'${extra}' is one argument too many`, command);
  return [...given];
}

export function helpOf({ name, positionals, description, options, examples = [] }: Command): string {
  const rows = Object.entries(options).map(([option, { value, help }]) => [
    `  --${option}${value === undefined ? '' : ` ${value}`}`,
    help,
  ]);
  const usage = [programName, name, positionals, rows.length === 0 ? '' : '[options]'].filter((part) => part !== '');
  return [
    `Usage: ${usage.join(' ')}`,
    '',
    description,
    '',
    columns([...rows, ['  --help', 'this text']]),
    ...(examples.length === 0 ? [] : ['', 'Examples:', ...examples.map((example) => `  ${programName} ${example}`)]),
  ].join('\n');
}
