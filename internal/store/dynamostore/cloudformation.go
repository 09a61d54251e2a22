package dynamostore

func cloudFormation(t Target) string {
	return filled(cloudFormationTemplate, t, func(name string) string { return "              - " + name })
}

const cloudFormationTemplate = `# The tables of Stepgate and the policy of its gateways, as stepgate tables create makes them.
# Printed by: stepgate tables create --print cloudformation
AWSTemplateFormatVersion: "2010-09-09"
Description: DynamoDB tables of Stepgate, and the policy of its gateways

Parameters:
  PasskeysTableName:
    Type: String
    Default: <passkeys>
    AllowedPattern: "[a-zA-Z0-9_.-]{3,255}"
    Description: Users and their passkeys (the option passkeys_table)
  ChallengesTableName:
    Type: String
    Default: <challenges>
    AllowedPattern: "[a-zA-Z0-9_.-]{3,255}"
    Description: Ceremonies under way (the option challenges_table); another name than the other table's

Resources:
  # Whoever loses this table asks everybody to register anew, so nothing here deletes it. It must have no time to live.
  PasskeysTable:
    Type: AWS::DynamoDB::Table
    DeletionPolicy: Retain
    UpdateReplacePolicy: Retain
    Properties:
      TableName: !Ref PasskeysTableName
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions:
        - AttributeName: <pk>
          AttributeType: S
        - AttributeName: <sk>
          AttributeType: S
      KeySchema:
        - AttributeName: <pk>
          KeyType: HASH
        - AttributeName: <sk>
          KeyType: RANGE
      PointInTimeRecoverySpecification:
        PointInTimeRecoveryEnabled: true
      DeletionProtectionEnabled: true

  # What is in this table lives for minutes, so it is not kept and not backed up.
  ChallengesTable:
    Type: AWS::DynamoDB::Table
    DeletionPolicy: Delete
    UpdateReplacePolicy: Delete
    Properties:
      TableName: !Ref ChallengesTableName
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions:
        - AttributeName: <pk>
          AttributeType: S
        - AttributeName: <sk>
          AttributeType: S
      KeySchema:
        - AttributeName: <pk>
          KeyType: HASH
        - AttributeName: <sk>
          KeyType: RANGE
      TimeToLiveSpecification:
        AttributeName: <expires>
        Enabled: true

  # Attach it to the role of the gateways, and to nothing else: who can write to the tables can put a passkey of their own
  # into anybody's account.
  GatewayPolicy:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      Description: What a running Stepgate calls, and nothing else
      PolicyDocument:
        Version: "2012-10-17"
        Statement:
          - Sid: StepgatePasskeys
            Effect: Allow
            Action:
<passkeys actions>
            Resource: !GetAtt PasskeysTable.Arn
          - Sid: StepgateChallenges
            Effect: Allow
            Action:
<challenges actions>
            Resource: !GetAtt ChallengesTable.Arn

Outputs:
  PasskeysTableArn:
    Value: !GetAtt PasskeysTable.Arn
  ChallengesTableArn:
    Value: !GetAtt ChallengesTable.Arn
  GatewayPolicyArn:
    Description: To attach to the role of the gateways
    Value: !Ref GatewayPolicy
`
