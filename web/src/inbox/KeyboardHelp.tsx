import { Kbd, UnstyledButton } from '@mantine/core';
import classes from './KeyboardHelp.module.css';

type KeyboardHelpProps = {
  readonly withLetters: boolean;
  readonly onToggleLetters: () => void;
};

export function KeyboardHelp({ withLetters, onToggleLetters }: KeyboardHelpProps) {
  const keys: [string[], string][] = [
    ...(withLetters
      ? ([
          [['/'], 'filter'],
          [['c'], 'copy newest'],
        ] satisfies [string[], string][])
      : []),
    [withLetters ? ['↓', '↑', 'j', 'k'] : ['↓', '↑'], 'move'],
    [['Enter'], 'copy this'],
    [['Esc'], 'clear filter'],
  ];
  return (
    <footer className={classes.help}>
      <h2 className={classes.title}>Keyboard</h2>
      <dl className={classes.keys}>
        {keys.map(([names, meaning]) => (
          <div className={classes.key} key={meaning}>
            <dt>
              {names.map((name) => (
                <Kbd className={classes.cap ?? ''} key={name}>
                  {name}
                </Kbd>
              ))}
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
      <UnstyledButton className={classes.toggle ?? ''} onClick={onToggleLetters}>
        Single-character keys: {withLetters ? 'on' : 'off'}
      </UnstyledButton>
    </footer>
  );
}
