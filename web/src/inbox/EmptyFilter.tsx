import { Button } from '@mantine/core';
import classes from './EmptyState.module.css';

type EmptyFilterProps = {
  readonly filter: string;
  readonly hidden: number;
  readonly onClear: () => void;
};

export function EmptyFilter({ filter, hidden, onClear }: EmptyFilterProps) {
  return (
    <section className={classes.panel} aria-labelledby="nothing">
      <h2 className={classes.title} id="nothing">
        No messages to <bdi>{filter}</bdi>
      </h2>
      <p className={classes.text}>
        {hidden === 1 ? 'One message went to another number.' : `${hidden} messages went to other numbers.`}
      </p>
      <Button className={classes.button ?? ''} variant="default" onClick={onClear}>
        Show all messages
      </Button>
    </section>
  );
}
