import { STSClient, GetCallerIdentityCommand } from '@aws-sdk/client-sts';

export const handler = async (event) => {
  console.log('hello from Node.js', process.version);
  const { Arn } = await new STSClient({}).send(new GetCallerIdentityCommand({}));
  return { hello: event.name, from: `Node.js ${process.version}`, as: Arn };
};
