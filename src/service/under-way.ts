/** What was begun and is not over yet: a store that is closed under it would forget that a text was sent. */
export type UnderWay = {
  add<Answer>(work: Promise<Answer>): Promise<Answer>;
  settled(): Promise<void>;
};

export function createUnderWay(): UnderWay {
  const works = new Set<Promise<unknown>>();
  return {
    add(work) {
      works.add(work);
      const remove = () => works.delete(work);
      work.then(remove, remove);
      return work;
    },
    async settled() {
      // What is under way may begin more.
      while (works.size > 0) await Promise.allSettled(works);
    },
  };
}
