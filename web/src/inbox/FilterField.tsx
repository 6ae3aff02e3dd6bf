import { ActionIcon, Kbd, TextInput } from '@mantine/core';
import type { RefObject } from 'react';
import { Icon } from '../theme/Icon.tsx';
import classes from './FilterField.module.css';

type FilterFieldProps = {
  readonly ref: RefObject<HTMLInputElement | null>;
  readonly value: string;
  readonly onChange: (value: string) => void;
};

export function FilterField({ ref, value, onChange }: FilterFieldProps) {
  return (
    <search className={classes.search}>
      <TextInput
        ref={ref}
        classNames={{ input: classes.input ?? '' }}
        aria-label="Filter by number"
        placeholder="Filter by number"
        // The keys of a telephone, on a phone; any text may be pasted.
        inputMode="tel"
        autoComplete="off"
        spellCheck={false}
        leftSection={<Icon name="search" />}
        leftSectionPointerEvents="none"
        rightSection={
          value === '' ? (
            <Kbd className={classes.key ?? ''} aria-hidden="true">
              /
            </Kbd>
          ) : (
            <ActionIcon
              variant="transparent"
              size={32}
              color="var(--ink-soft)"
              aria-label="Clear the filter"
              onClick={() => {
                onChange('');
                ref.current?.focus();
              }}
            >
              <Icon name="close" />
            </ActionIcon>
          )
        }
        rightSectionPointerEvents={value === '' ? 'none' : 'all'}
        value={value}
        onChange={(event) => onChange(event.currentTarget.value)}
      />
    </search>
  );
}
